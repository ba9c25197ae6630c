# bash completion of grua; made by `grua completion bash`
_grua() {
    local IFS=$'\n' words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=()
    local line
    while read -r line; do
        case $line in
            :files) compopt -o default; return ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(grua __complete -- "${words[@]}" 2>/dev/null)
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -F _grua grua
