"""Networks of published studies, written from their descriptions; the weights load strictly.

One file a family. Nothing is imported here, so that the plug-in's front door stays light: the records of
`energy_plugin_bench.plugin` name the factories as ``module:attribute``.
"""
