# The words after the command go to the generated _shtab_orchestrator; sweep files and ids are looked up here.

_orchestrator_sweep_files() {
  _files -g '*.(yaml|yml)'
}

_orchestrator_sweep_ids() {
  local -a ids
  ids=(mlruns/sweeps/*/*/sweep.resolved.json(N:h:t) mlruns/sweeps/*/*/sweep.resolved.json(N:h:h:t) last last~1)
  compadd -a ids
  _files -/
}

_orchestrator_folders() {
  _files -/
}

_orchestrator() {
  if ((CURRENT > 2)) && [[ $words[2] != -* && " $_orchestrator_commands " != *" $words[2] "* ]]; then
    words=($words[1] run "${(@)words[2,-1]}")  # a sweep file alone means: run
    ((CURRENT += 1))
  fi
  local first=$((CURRENT == 2)) word=$words[2]
  _shtab_orchestrator
  ((first)) && [[ $word != -* ]] && _orchestrator_sweep_files
  return 0
}

_orchestrator_python() {  # python -m orchestrator ...
  if ((CURRENT > 3)) && [[ $words[2] == -m && $words[3] == orchestrator ]]; then
    words=(orchestrator "${(@)words[4,-1]}")
    ((CURRENT -= 2))
    _orchestrator
  elif (($+functions[_python])) || autoload +X -Uz _python 2>/dev/null; then
    _python
  else
    _files
  fi
}

(($+functions[compdef])) || { autoload -Uz compinit && compinit; }
compdef _orchestrator orchestrator
compdef _orchestrator_python python python3
