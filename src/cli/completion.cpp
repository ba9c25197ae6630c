// Shells ask `grua __complete WORD…` what may follow; the scripts only pass the words on, so they never are out of date.
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"
#include "cli/help.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <csignal>
#include <set>

namespace grua::cli {

namespace {

constexpr std::string_view bash_script = R"script(# bash completion of grua; made by `grua completion bash`
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
)script";

constexpr std::string_view zsh_script = R"script(#compdef grua
# zsh completion of grua; made by `grua completion zsh`
_grua() {
    local -a offers
    local line
    for line in ${(f)"$(grua __complete -- ${words[2,CURRENT]} 2>/dev/null)"}; do
        if [[ $line == :files ]]; then _files; return; fi
        offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe grua offers
}
compdef _grua grua
)script";

constexpr std::string_view fish_script = R"script(# fish completion of grua; made by `grua completion fish`
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
)script";

struct Offer {
    std::string word;
    std::string about;
};

class Completer {
public:
    Completer(Context& context, std::span<const std::string> words)
        : context_(context), before_(words.first(words.size() - 1)), present_(words.back()) {}

    std::vector<Offer> offers() {
        std::size_t at = 0;
        while (at < before_.size() && before_[at].starts_with('-')) at += takes_next_word(before_[at]) ? 2 : 1;
        const auto rest = before_.subspan(std::min(at, before_.size()));
        const Command* command = find(rest);
        if (command)
            for_command(*command, rest);
        else
            names(rest);
        return std::move(out_);
    }

private:
    /// Of a global flag: its value is the word behind it.
    static bool takes_next_word(const std::string& word) {
        return std::ranges::any_of(global_flags(), [&](const Flag& flag) {
            return flag.kind != FlagKind::boolean &&
                   (word == std::string("--") + flag.name || (flag.letter != 0 && word == std::string("-") + flag.letter));
        });
    }

    static const Command* find(std::span<const std::string> words) {
        for (std::size_t count = std::min(longest_name, words.size()); count > 0; --count) {
            const std::string name = join({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count)}, " ");
            for (const Command& command : commands()) {
                if (std::ranges::any_of(command.names, [&](const char* each) { return each && name == each; })) return &command;
            }
        }
        return nullptr;
    }

    void offer(const std::string& word, const std::string& about) {
        if (word.starts_with(present_)) out_.push_back({word, about});
    }

    /// The next word of each command's name.
    void names(std::span<const std::string> before) {
        std::set<std::string> seen;
        const std::string prefix = before.empty() ? "" : join({before.begin(), before.end()}, " ") + " ";
        for (const Command& command : commands()) {
            if (command.hidden) continue;
            for (const char* name : command.names) {
                if (!name || !std::string_view(name).starts_with(prefix)) continue;
                const std::string next = std::string(name).substr(prefix.size());
                if (next.find(' ') == std::string::npos && seen.insert(next).second) offer(next, command.brief);
            }
        }
        for (const Group& group : groups()) {
            const std::string_view name = group.name;
            if (!*group.brief || !name.starts_with(prefix)) continue;
            const std::string next(name.substr(prefix.size()));
            if (next.find(' ') == std::string::npos && seen.insert(next).second) offer(next, group.brief);
        }
        if (before.empty()) offer("help", "Help about a command");
    }

    void for_command(const Command& command, std::span<const std::string> before) {
        if (const Flag* flag = waiting_flag(command, before)) return value(flag->completes, flag->words);
        if (present_.starts_with('-')) {
            for (const auto& table : command.flags) {
                for (const Flag& flag : table) {
                    if (!flag.hidden) offer(std::string("--") + flag.name, flag.help);
                }
            }
            return offer("--help", "Help about this command");
        }
        const std::string_view name = command.names[0];
        if (name == "completion") return value(Completes::words, "bash zsh fish");
        if (name == "inspect") {
            for (const auto what : {Completes::containers, Completes::images, Completes::networks, Completes::volumes}) objects(what);
            return;
        }
        // The network is the first of two names.
        const bool names_container =
            (name == "network connect" || name == "network disconnect") && before.size() > 2 && !before.back().starts_with('-');
        value(names_container ? Completes::containers : command.completes, "");
    }

    /// The flag whose value is being written, if the word before is one.
    static const Flag* waiting_flag(const Command& command, std::span<const std::string> before) {
        if (before.empty() || !before.back().starts_with('-')) return nullptr;
        const std::string& last = before.back();
        if (last.find('=') != std::string::npos) return nullptr;
        for (const auto& table : command.flags) {
            for (const Flag& flag : table) {
                const bool is = last.starts_with("--") ? last.substr(2) == flag.name : flag.letter != 0 && last.back() == flag.letter;
                if (is && flag.kind != FlagKind::boolean && !std::string_view(flag.value).starts_with("[=")) return &flag;
            }
        }
        return nullptr;
    }

    void value(Completes what, const char* words) {
        switch (what) {
            case Completes::nothing:
                return;
            case Completes::files:
                out_.push_back({":files", ""});
                return;
            case Completes::words:
                for (const std::string& word : split(words, ' ')) offer(word, "");
                return;
            case Completes::signals:
                for (int signal = 1; signal < 32; ++signal) offer(::sigabbrev_np(signal), "");
                return;
            case Completes::registries:
                for (const std::string& server : DockerConfig::load().servers()) offer(server, "");
                return;
            default:
                objects(what);
        }
    }

    void objects(Completes what) {
        client::Client* daemon = context_.running_daemon();
        if (!daemon) return;
        if (what == Completes::containers) {
            const Value list = daemon->get("/containers/json?all=1");
            for (const Value& each : list.as_array()) {
                const auto* names = at(each, "Names").if_array();
                if (names && !names->empty())
                    offer(print_value((*names)[0]).substr(1), text_at(each, "Image") + ", " + text_at(each, "Status"));
            }
        } else if (what == Completes::images) {
            const Value list = daemon->get("/images/json");
            for (const Value& each : list.as_array()) {
                if (const auto* tags = at(each, "RepoTags").if_array()) {
                    for (const Value& tag : *tags) offer(print_value(tag), "");
                }
            }
        } else if (what == Completes::volumes) {
            const Value list = daemon->get("/volumes");
            if (const auto* volumes = at(list, "Volumes").if_array()) {
                for (const Value& each : *volumes) offer(text_at(each, "Name"), text_at(each, "Driver"));
            }
        } else if (what == Completes::networks) {
            const Value list = daemon->get("/networks");
            for (const Value& each : list.as_array()) offer(text_at(each, "Name"), text_at(each, "Driver"));
        }
    }

    Context& context_;
    std::span<const std::string> before_;
    std::string present_;
    std::vector<Offer> out_;
};

}  // namespace

int print_completion(Context&, const Parsed& given) {
    const std::string& shell = given.arguments[0];
    if (shell == "bash")
        print(bash_script);
    else if (shell == "zsh")
        print(zsh_script);
    else if (shell == "fish")
        print(fish_script);
    else
        fail(ErrorKind::invalid_argument, "no completion for {:?}: it is made for bash, zsh and fish", shell);
    return 0;
}

int print_completion_words(Context& context, const Parsed& given) {
    if (given.arguments.empty()) return 0;
    std::string text;
    for (const Offer& offer : Completer(context, given.arguments).offers())
        text += offer.about.empty() ? offer.word + "\n" : offer.word + "\t" + offer.about + "\n";
    print(text);
    return 0;
}

}  // namespace grua::cli
