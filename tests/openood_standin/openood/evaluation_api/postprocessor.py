from pathlib import Path
from urllib.error import URLError

from openood.postprocessors import BasePostprocessor, EBOPostprocessor
from openood.utils.config import Config, merge_configs

postprocessors = {"msp": BasePostprocessor, "ebo": EBOPostprocessor}


def get_postprocessor(config_root, postprocessor_name, id_data_name):
    file = Path(config_root, "postprocessors", f"{postprocessor_name}.yml")
    if not file.exists():
        raise URLError(f"a download of {file.name} would be tried here")
    config = merge_configs(Config(str(file)), Config(dataset={"name": id_data_name}))
    found = postprocessors[postprocessor_name](config)
    found.APS_mode = config.postprocessor.APS_mode
    found.hyperparam_search_done = False
    return found
