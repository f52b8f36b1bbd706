#!/bin/bash
# One driver and a Ray cluster over the nodes of a SLURM job. `sbatch docs/clusters/slurm_ray.sh`; again: the search goes on.
#SBATCH --job-name=nasforge-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@60

set -e
PORT=${PORT:-6379}
WORKERS=${WORKERS:-$((SLURM_NNODES * SLURM_CPUS_PER_TASK - 1))}     # one core of the first node is the driver's
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun --nodes=1 --ntasks=1 --overlap -w "$head" \
  ray start --head --port="$PORT" --num-cpus=$((SLURM_CPUS_PER_TASK - 1)) --dashboard-host=127.0.0.1 --block &
sleep 15
if [ "$SLURM_NNODES" -gt 1 ]; then
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --overlap --exclude="$head" \
    ray start --address="$head:$PORT" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
  sleep 15
fi
# --runner tune instead of plain actors: trials are placed by Ray Tune, and --scheduler tune:asha and others may be given
exec nasforge search digits --ray "$head:$PORT" --workers "$WORKERS" --run "${RUNS:-$HOME/runs}/digits"
