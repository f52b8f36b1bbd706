"""nasforge: neural architecture search on plain data.

The verbs of the command line are functions on the same data, each in its room:

    nasforge.spaces.files      read, write             nasforge.spaces.space     Space: draw, size, domains
    nasforge.networks.build    build, key              nasforge.spaces.locate    locate
    nasforge.networks.cost     count, layer_table      nasforge.scaling          scale, fit
    nasforge.latency           measure, calibrate      nasforge.zoo              load, entries
    nasforge.tasks             load_data, task_of      nasforge.train            fit, score
    nasforge.search            plan, session.search    nasforge.export           export
"""
