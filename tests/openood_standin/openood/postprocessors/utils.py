from openood.postprocessors.base_postprocessor import BasePostprocessor
from openood.postprocessors.ebo_postprocessor import EBOPostprocessor


def get_postprocessor(config):
    known = {"msp": BasePostprocessor, "ebo": EBOPostprocessor}
    return known[config.postprocessor.name](config)
