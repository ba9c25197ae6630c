#include "build/dockerfile/expand.hpp"

#include <algorithm>

namespace grua::build::dockerfile {
namespace {

class BodyExpander {
public:
    explicit BodyExpander(const Expansions& expansions) : expansions_(expansions) {}

    void operator()(Add& add) const {
        word(add.chown);
        word(add.chmod);
        word(add.checksum);
        sources(add.sources);
    }

    void operator()(Copy& copy) const {
        word(copy.chown);
        word(copy.chmod);
        sources(copy.sources);
    }

    void operator()(Env& env) const { pairs(env.pairs); }
    void operator()(Label& label) const { pairs(label.pairs); }
    void operator()(StopSignal& signal) const { word(signal.signal); }
    void operator()(User& user) const { word(user.user); }
    void operator()(Workdir& workdir) const { word(workdir.path); }

    void operator()(Volume& volume) const {
        for (std::string& path : volume.paths) word(path);
    }

    void operator()(Expose& expose) const {
        std::vector<std::string> ports;
        for (const std::string& port : expose.ports) std::ranges::move(expansions_.words(port), std::back_inserter(ports));
        expose.ports = std::move(ports);
    }

    void operator()(Run& run) const {
        run.mounts.clear();
        for (const std::string& flag : run.mount_flags) run.mounts.push_back(parse_mount(flag, expansions_.word));
    }

    template <typename Other>
    void operator()(Other&) const {}

private:
    void word(std::string& text) const { text = expansions_.word(text); }

    void pairs(std::vector<KeyValue>& pairs) const {
        for (KeyValue& pair : pairs) {
            word(pair.key);
            word(pair.value);
        }
    }

    void sources(Sources& sources) const {
        for (std::string& path : sources.paths) word(path);
        word(sources.destination);
        for (InlineFile& file : sources.files) {
            if (file.expand) file.content = expansions_.heredoc(file.content);
        }
    }

    const Expansions& expansions_;
};

}  // namespace

void expand(Instruction& instruction, const Expansions& expansions) {
    at_lines(instruction.lines, [&] { std::visit(BodyExpander{expansions}, instruction.body); });
}

}  // namespace grua::build::dockerfile
