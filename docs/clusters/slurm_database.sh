#!/bin/bash
# Searches on several nodes with no Ray: every task is a driver of its own on one database. `sbatch docs/clusters/slurm_database.sh`
# Begin it again, with more or fewer tasks, as often as you like: it goes on. One task owns the study and trains the finalists at the end.
#SBATCH --job-name=nasforge
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --signal=INT@60      # a minute before the end: what runs is written down as interrupted

STORAGE=${STORAGE:?the URL of a database that all nodes reach, such as postgresql://user@host/studies}
RUNS=${RUNS:-$HOME/runs}

# The last part of --run names the study: the same for all tasks. What stands before it keeps their folders apart.
srun bash -c 'exec nasforge search digits --storage "'"$STORAGE"'" --workers "$SLURM_CPUS_PER_TASK" --run "'"$RUNS"'/task$SLURM_PROCID/digits"'
