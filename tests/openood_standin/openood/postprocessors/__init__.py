from openood.postprocessors.base_postprocessor import BasePostprocessor
from openood.postprocessors.ebo_postprocessor import EBOPostprocessor
from openood.postprocessors.utils import get_postprocessor

__all__ = ["BasePostprocessor", "EBOPostprocessor", "get_postprocessor"]
