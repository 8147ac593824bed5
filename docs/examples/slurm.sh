#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1 --exclusive --gpus-per-node=8 --time=04:00:00
# One allocation is one Ray cluster; the driver runs on its first node. Not run by us: a start, to be fitted to your site.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$(python -c 'import secrets; print(secrets.token_hex(32))')" TMPDIR=/tmp
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address)
srun --nodes=1 --ntasks=1 -w "$head" ray start --head --node-ip-address="$ip" --port=6379 --include-dashboard=false --block &
sleep 20
srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$head" ray start --address="$ip:6379" --block &
sleep 20
orchestrator doctor --address "$ip:6379" && orchestrator sweeps/full.yaml --address "$ip:6379"
