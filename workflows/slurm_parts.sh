#!/bin/bash
# One job in 16 parts, as an array of Slurm: each task computes a part with the cores that it is given.
#
#   parts=$(sbatch --parsable slurm_parts.sh)
#   sbatch --array=1 --dependency=afterany:$parts slurm_parts.sh --finish
#   sbatch --array=3,7 slurm_parts.sh     # again, if that has said that parts 3/16 and 7/16 are missing
#
# /srv/lvm is a file system that all nodes have. It must know locks (flock), as NFS does, and Lustre mounted with flock.
#SBATCH --job-name=lvm-batch
#SBATCH --array=1-16
#SBATCH --cpus-per-task=8
#SBATCH --mem=24G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=lvm-batch-%A_%a.log

# 16 and not $SLURM_ARRAY_TASK_COUNT, which is 2 when two parts are computed again.
exec /opt/lvm-batch/bin/lvm-batch run --config /etc/lvm-batch/backfill.toml "${@:---part=$SLURM_ARRAY_TASK_ID/16}"
