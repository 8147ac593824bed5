# The words after the command go to the generated _shtab_orchestrator; sweep files and ids are looked up here.

_orchestrator_sweep_files() {  # $1: the word so far
  compgen -f -X '!*.yaml' -- "$1"
  compgen -f -X '!*.yml' -- "$1"
  compgen -d -- "$1"
}

_orchestrator_sweep_ids() {
  local path
  for path in mlruns/sweeps/*/*/sweep.resolved.json; do
    [[ -e $path ]] || continue
    path=${path%/*}
    local name=${path%/*}
    name=${name##*/}
    path=${path##*/}
    [[ $path == "$1"* ]] && echo "$path"
    [[ $name == "$1"* ]] && echo "$name"
  done
  [[ last == "$1"* ]] && echo last
  [[ last~1 == "$1"* ]] && echo last~1
  [[ -n $1 ]] && compgen -d -- "$1"
}

_orchestrator_folders() {
  compgen -d -- "$1"
}

_orchestrator() {
  if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* &&
      " $_orchestrator_commands " != *" ${COMP_WORDS[1]} "* ]]; then
    COMP_WORDS=("${COMP_WORDS[0]}" run "${COMP_WORDS[@]:1}")  # a sweep file alone means: run
    ((COMP_CWORD += 1))
  fi
  _shtab_orchestrator
  if ((COMP_CWORD == 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
    local file
    while IFS= read -r file; do COMPREPLY+=("$file"); done < <(_orchestrator_sweep_files "${COMP_WORDS[1]}")
  fi
  if ((${#COMPREPLY[@]} == 1)) && [[ -d ${COMPREPLY[0]} ]]; then
    COMPREPLY[0]+=/
    compopt -o nospace 2>/dev/null
  fi
}

_orchestrator_python() {  # python -m orchestrator ...
  COMPREPLY=()
  if ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} == orchestrator ]]; then
    COMP_WORDS=(orchestrator "${COMP_WORDS[@]:3}")
    ((COMP_CWORD -= 2))
    _orchestrator
  fi
}

complete -o bashdefault -o default -F _orchestrator orchestrator
complete -o bashdefault -o default -F _orchestrator_python python python3
