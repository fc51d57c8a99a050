"""Reading and writing the files and objects of other tools. Importing this package imports none of them."""
