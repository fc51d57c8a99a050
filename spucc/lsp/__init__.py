"""The language server: what an editor asks about a `.spu` program.

`names` finds what every name in a text refers to; `document` is one open program with its analysis; `summary` puts the energy
of a statement into words; `server` speaks the protocol (the only module that imports pygls, the extra `lsp`).
"""
