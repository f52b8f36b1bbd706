"""nasforge: neural architecture search on plain data.

The verbs of the command line are functions on the same data, each in its room:

    nasforge.files       read, write                 nasforge.space     Space: draw, size, openings
    nasforge.build       build, key                  nasforge.locate    locate
    nasforge.cost        count, layer_table          nasforge.scaling   scale, fit
    nasforge.latency     measure, calibrate          nasforge.zoo       load, entries
    nasforge.data        load                        nasforge.train     fit, score
    nasforge.search      plan.Plan, session.search   nasforge.export    export
"""
