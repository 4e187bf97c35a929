"""How it is run: compose for operators, the local stack for everybody else."""
