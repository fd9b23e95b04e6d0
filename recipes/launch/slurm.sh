#!/usr/bin/env bash
# A recipe on a Slurm cluster, on one machine or several, queued again after pre-emption and at the end of its time.
#   sbatch recipes/launch/slurm.sh recipes/zephyr-7b-beta.yaml
#   sbatch --nodes=2 recipes/launch/slurm.sh recipes/zephyr-7b-beta.yaml
#   sbatch --gpus-per-node=4 recipes/launch/slurm.sh recipes/zephyr-7b-beta.yaml --set processes=4
# To be sent from this repository's folder, with .venv in it (make setup), on a file system that all machines share; so
# too ~/.cache, or set FAVONIUS_CACHE and HF_HOME to a shared folder. What follows the recipe goes to `favonius run`.
#
# The first machine runs the recipe. Its train steps start a process for each GPU there, and torchrun's launcher on the
# other machines, through join.sh, as many (docs/training.md, Several processes). All else runs on the first alone.
#
#SBATCH --job-name=favonius
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1        # one launcher for each machine
#SBATCH --gpus-per-node=8          # as many as the recipe's `processes`
#SBATCH --exclusive
#SBATCH --time=24:00:00            # of one turn: the next goes on where it ended
#SBATCH --signal=B:TERM@600        # ten minutes before, to this script alone (B:): a step and its checkpoint fit in
#SBATCH --requeue                  # Slurm may queue it again, after pre-emption or when a machine fails
#SBATCH --open-mode=append         # all turns write one log
#SBATCH --output=%x-%j.out
#
# Pre-emption sends the signal above where the cluster sets PreemptParameters=send_user_signal and a GraceTime. Where it
# does not, processes are ended at once and the next turn begins at the last checkpoint (`checkpoint_every`).
set -u
recipe=${1:?a recipe, such as recipes/zephyr-7b-beta.yaml}
shift
cd "${SLURM_SUBMIT_DIR:-.}" || exit 1
export PATH="$PWD/.venv/bin:$PATH"
run=${FAVONIUS_RUN:-runs/$(basename "$recipe" .yaml)}
nodes=${SLURM_NNODES:-1}
FAVONIUS_RENDEZVOUS="$(hostname):29400"  # this script runs on the first machine
export FAVONIUS_RENDEZVOUS

leader=""
others=""
asked=""
stop() {
  asked=yes
  [ -z "$leader" ] || kill -TERM "$leader" 2>/dev/null
}
trap stop TERM

settings=()
if [ "$nodes" -gt 1 ]; then
  settings=(--set "nodes=$nodes")
  file=work/processes/join
  rm -f "$run"/*/$file  # of a turn before
  srun --relative=1 --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --cpu-bind=none bash recipes/launch/join.sh "$run" &
  others=$!
fi

favonius run "$recipe" --out "$run" "${settings[@]}" "$@" &
leader=$!
wait "$leader"
code=$?
while kill -0 "$leader" 2>/dev/null; do  # a signal ends `wait`, and not yet the run, which finishes its step
  wait "$leader"
  code=$?
done

[ -z "$others" ] || kill -TERM "$others" 2>/dev/null
if [ -n "$asked" ] && [ "$code" -ne 0 ]; then  # 130 from a training that saved a checkpoint
  echo "stopped with exit code $code; queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
