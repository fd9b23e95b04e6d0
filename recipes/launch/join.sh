#!/usr/bin/env bash
# Takes part in the trainings of a run that another machine leads, one after the other, until it is ended.
#   recipes/launch/join.sh RUN
# A train step with `nodes: 2` or more writes the torchrun command of the other nodes to RUN/STEP/work/processes/join.
# This waits for such a file, runs what is in it, and waits for the next. Where the file goes or another takes its
# place, that training is over or begins anew, and what had joined it is ended.
set -u
run=${1:?the run folder, as the machine that leads has it}
file=work/processes/join
joined=""
process=""

leave() {
  if [ -n "$process" ]; then
    kill -TERM "$process" 2>/dev/null
    wait "$process"
  fi
  process=""
}
trap 'leave; exit 143' TERM INT

while true; do
  newest=$(ls -t "$run"/*/$file 2>/dev/null | head -n 1)
  command=$([ -z "$newest" ] || cat "$newest" 2>/dev/null)
  if [ "$command" != "$joined" ]; then
    leave
    joined=$command
    if [ -n "$command" ]; then
      bash -c "exec $command" &
      process=$!
    fi
  fi
  sleep 2 &
  wait $!  # so that a signal is heard at once
done
