"""Every stage as text that a person can read, and back to the same bytes. `docs/ir.md` is the grammar.

`print_state` and `print_program` give one text; `write_state` and `write_program` a container (`.spuc`) in which arrays
longer than `limit` entries are members of their own; `read_state` and `read_program` take either.
"""

from spucc.ir.document import (
    pack_program,
    pack_state,
    print_program,
    print_state,
    read_any,
    read_program,
    read_state,
    write_program,
    write_state,
)
from spucc.ir.equal import identical

__all__ = [
    "identical",
    "pack_program",
    "pack_state",
    "print_program",
    "print_state",
    "read_any",
    "read_program",
    "read_state",
    "write_program",
    "write_state",
]
