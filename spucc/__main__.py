"""`python -m spucc`"""

from spucc.cli import main

main()
