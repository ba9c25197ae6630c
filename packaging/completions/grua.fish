# fish completion of grua; made by `grua completion fish`
function __grua_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (grua __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c grua -f -a '(__grua_complete)'
