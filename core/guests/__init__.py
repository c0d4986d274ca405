"""Optimizers that are classes, live in another process: how they are found, spoken to, and kept from doing harm.

classes.py finds them and reads their constructors; child.py is the process they live in; wire.py is the pipe to it;
host.py is the side that trains. `core.adapter` makes rules of them.
"""
