"""From a program to its answers: runs on a backend, the file that they write, estimates with their errors, and the queries
that take runs of their own."""
