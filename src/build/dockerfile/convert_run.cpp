// RUN.
#include "base/text.hpp"
#include "build/dockerfile/converter.hpp"

#include <map>

namespace grua::build::dockerfile::detail {
namespace {

constexpr std::string_view pipes = "/dev/pipes/";
constexpr std::uint32_t secret_mode = 0400;
constexpr std::uint32_t ssh_mode = 0600;

std::string last_name(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

/// What is shown of a heredoc.
std::string summary(std::string_view content) {
    const std::string_view text = trim(content);
    const std::size_t end = text.find('\n');
    std::string line(text.substr(0, end));
    if (line.ends_with('\r')) line.pop_back();
    return line + (end == std::string_view::npos ? "" : "...");
}

/// "RUN |2 A=1 B=2 /bin/sh -c make": what arguments it ran with is a part of what it was.
std::string run_text(const std::vector<std::string>& words, const std::vector<Arg::Declared>& arguments, const Environment& environment) {
    std::vector<std::string> out;
    std::map<std::string, std::size_t, std::less<>> places;
    for (const Arg::Declared& each : arguments) {
        const std::string* now = environment.find(each.key);
        std::string pair = fmt::format("{}={}", each.key, now ? *now : each.value.value_or(""));
        const auto [at, is_new] = places.try_emplace(each.key, out.size());
        if (is_new)
            out.push_back(std::move(pair));
        else
            out[at->second] = std::move(pair);
    }
    if (!out.empty()) out.insert(out.begin(), fmt::format("|{}", out.size()));
    out.insert(out.end(), words.begin(), words.end());
    return join(out, " ");
}

void set_proxy(pb::Meta& meta, const std::map<std::string, std::string, std::less<>>& arguments) {
    for (const auto& [name, value] : arguments) {
        const std::string key = to_lower(name);
        if (key == "http_proxy") meta.mutable_proxy_env()->set_http_proxy(value);
        if (key == "https_proxy") meta.mutable_proxy_env()->set_https_proxy(value);
        if (key == "ftp_proxy") meta.mutable_proxy_env()->set_ftp_proxy(value);
        if (key == "no_proxy") meta.mutable_proxy_env()->set_no_proxy(value);
        if (key == "all_proxy") meta.mutable_proxy_env()->set_all_proxy(value);
    }
}

void add_secret(pb::ExecOp& exec, const std::string& folder, const Mount& mount) {
    std::string id = mount.source.empty() ? mount.id : mount.source;
    if (id.empty()) id = last_name(mount.target);
    if (mount.env) {
        pb::SecretEnv& variable = *exec.add_secretenv();
        variable.set_id(id);
        variable.set_name(mount.env->empty() ? last_name(id) : *mount.env);
        variable.set_optional(!mount.required);
    }
    if (mount.env && mount.target.empty()) return;
    pb::Mount& out = *exec.add_mounts();
    out.set_input(-1);
    out.set_output(-1);
    out.set_mounttype(pb::MOUNT_TYPE_SECRET);
    out.set_dest(mount.target.empty() ? "/run/secrets/" + last_name(id) : absolute(folder, mount.target, false));
    pb::SecretOpt& secret = *out.mutable_secretopt();
    secret.set_id(id);
    secret.set_uid(mount.uid.value_or(0));
    secret.set_gid(mount.gid.value_or(0));
    secret.set_mode(mount.mode.value_or(secret_mode));
    secret.set_optional(!mount.required);
}

void add_ssh(pb::ExecOp& exec, const std::string& folder, const Mount& mount, std::size_t number) {
    if (!mount.source.empty()) fail(ErrorKind::invalid_argument, "ssh does not support source");
    pb::Mount& out = *exec.add_mounts();
    out.set_input(-1);
    out.set_output(-1);
    out.set_mounttype(pb::MOUNT_TYPE_SSH);
    const std::string target =
        mount.target.empty() ? fmt::format("/run/buildkit/ssh_agent.{}", number) : absolute(folder, mount.target, false);
    out.set_dest(target);
    pb::SSHOpt& ssh = *out.mutable_sshopt();
    ssh.set_id(mount.id.empty() ? "default" : mount.id);
    ssh.set_uid(mount.uid.value_or(0));
    ssh.set_gid(mount.gid.value_or(0));
    ssh.set_mode(mount.mode.value_or(ssh_mode));
    ssh.set_optional(!mount.required);
    // The first one is what ssh looks for.
    if (number == 0) exec.mutable_meta()->add_env("SSH_AUTH_SOCK=" + target);
}

/// The root stays first; then a folder before what is mounted in it.
void sort_mounts(pb::ExecOp& exec) {
    std::multimap<std::string, pb::Mount> others;
    for (int number = 1; number < exec.mounts_size(); ++number) others.emplace(exec.mounts(number).dest(), exec.mounts(number));
    exec.mutable_mounts()->DeleteSubrange(1, exec.mounts_size() - 1);
    for (auto& [dest, mount] : others) *exec.add_mounts() = std::move(mount);
}

pb::CacheSharingOpt sharing_of(const Mount& mount) {
    switch (mount.sharing.value_or(Sharing::shared)) {
        case Sharing::private_:
            return pb::CACHE_SHARING_OPT_PRIVATE;
        case Sharing::locked:
            return pb::CACHE_SHARING_OPT_LOCKED;
        default:
            return pb::CACHE_SHARING_OPT_SHARED;
    }
}

}  // namespace

void Converter::add_mounts(StageDraft& state, const Instruction& instruction, const Run& run, pb::Op& op) {
    std::size_t agents = 0;
    for (const Mount& mount : run.mounts) {
        if (mount.type == MountType::secret) {
            add_secret(*op.mutable_exec(), state.folder, mount);
            continue;
        }
        if (mount.type == MountType::ssh) {
            add_ssh(*op.mutable_exec(), state.folder, mount, agents++);
            continue;
        }
        const std::string target = absolute(state.folder, mount.target, false);
        if (target == "/") fail(ErrorKind::invalid_argument, "invalid mount target {}", in_quotes(target));
        Draft::Output from;
        const bool is_context = mount.type == MountType::bind && mount.from.empty();
        if (!mount.from.empty())
            from = take(instruction, mount.from,
                        fmt::format("cannot mount from stage {} to {}, stage needs to be defined before current command",
                                    in_quotes(mount.from), in_quotes(mount.target)));
        if (is_context) {
            context_paths_.insert(absolute("/", mount.source, false));
            from = context();
        }
        std::string selector = absolute("/", mount.source, false);
        const bool has_owner = mount.uid || mount.gid || mount.mode;
        if (selector == "/" && has_owner && mount.type != MountType::tmpfs) {
            from = owned_folder(state, from, mount);
            selector = "/cache";
        }
        pb::Mount& out = *op.mutable_exec()->add_mounts();
        out.set_input(input_of(op, from));
        out.set_output(-1);
        out.set_dest(target);
        out.set_readonly(mount.read_only);
        if (selector != "/") out.set_selector(selector);
        if (mount.type == MountType::tmpfs) {
            out.set_input(-1);
            out.set_mounttype(pb::MOUNT_TYPE_TMPFS);
            out.mutable_tmpfsopt()->set_size(mount.size_limit);
        }
        if (mount.type == MountType::cache) {
            out.set_mounttype(pb::MOUNT_TYPE_CACHE);
            out.mutable_cacheopt()->set_id(
                fmt::format("{}/{}", options_.cache_namespace, mount.id.empty() ? absolute("/", mount.target, false) : mount.id));
            out.mutable_cacheopt()->set_sharing(sharing_of(mount));
        }
    }
}

Draft::Output Converter::owned_folder(const StageDraft& state, const Draft::Output& below, const Mount& mount) {
    pb::Op op;
    set_platform(op, state.platform);
    pb::FileAction& action = *op.mutable_file()->add_actions();
    action.set_input(input_of(op, below));
    action.set_secondaryinput(-1);
    action.set_output(0);
    pb::FileActionMkDir& make = *action.mutable_mkdir();
    make.set_path("/cache");
    make.set_mode(static_cast<std::int32_t>(mount.mode.value_or(0755)));
    make.set_timestamp(-1);
    make.mutable_owner()->mutable_user()->set_byid(mount.uid.value_or(0));
    make.mutable_owner()->mutable_group()->set_byid(mount.gid.value_or(0));
    return draft_.add(op, "[internal] setting cache mount permissions");
}

void Converter::apply(StageDraft& state, const Instruction& instruction, const Run& run) {
    pb::Op op;
    set_platform(op, state.platform);
    pb::ExecOp& exec = *op.mutable_exec();
    pb::Mount& root = *exec.add_mounts();
    root.set_input(input_of(op, state.files));
    root.set_dest("/");
    root.set_output(0);
    std::vector<std::string> words = run.command.words;
    std::string name = instruction.code;
    if (!run.command.files.empty()) {
        if (words.size() != 1 || !run.command.in_shell)
            fail(ErrorKind::invalid_argument, "parsing produced an invalid run command: {}", quoted_list(words));
        const InlineFile& first = run.command.files.front();
        const bool is_alone = parse_heredoc(words.front()).has_value();
        if (is_alone) {
            const std::string content = first.strip_tabs ? without_tabs(first.content) : first.content;
            name += fmt::format(" ({})", summary(first.content));
            if (first.content.starts_with("#!")) {
                pb::Mount& script = *exec.add_mounts();
                script.set_input(input_of(op, inline_file(state, first.name, content, 0755)));
                script.set_output(-1);
                script.set_dest(std::string(pipes));
                script.set_readonly(true);
                words = {std::string(pipes) + first.name};
            } else {
                words = {content};
            }
        } else {
            std::string all = words.front();
            for (const InlineFile& each : run.command.files) all += fmt::format("\n{}{}", each.content, each.name);
            words = {std::move(all)};
        }
    }
    if (run.command.in_shell) words = with_shell(state, join(words, " "));
    if (words.empty()) fail(ErrorKind::invalid_argument, "failed to marshal LLB definition: arguments are required");
    pb::Meta& meta = *exec.mutable_meta();
    for (const std::string& each : words) meta.add_args(each);
    for (const std::string& each : state.variables.in_order()) meta.add_env(each);
    meta.set_cwd(state.folder);
    meta.set_user(state.image.config.user);
    meta.set_hostname(options_.hostname);
    meta.set_cgroupparent(options_.cgroup_parent);
    set_proxy(meta, options_.inputs.arguments);
    for (const HostEntry& each : options_.hosts) {
        pb::HostIP& host = *meta.add_extrahosts();
        host.set_host(each.host);
        host.set_ip(each.ip);
    }
    for (const ResourceLimit& each : options_.limits) {
        pb::Ulimit& limit = *meta.add_ulimit();
        limit.set_name(each.name);
        limit.set_soft(each.soft);
        limit.set_hard(each.hard);
    }
    exec.set_network(options_.network);
    if (run.network == RunNetwork::none) exec.set_network(pb::NET_MODE_NONE);
    if (run.network == RunNetwork::host) exec.set_network(pb::NET_MODE_HOST);
    if (run.security == RunSecurity::insecure) exec.set_security(pb::SECURITY_MODE_INSECURE);
    for (const Device& each : run.devices) {
        pb::CDIDevice& device = *exec.add_cdidevices();
        device.set_name(each.name);
        device.set_optional(!each.required);
    }
    add_mounts(state, instruction, run, op);
    if (options_.shm_size > 0) {
        pb::Mount& memory = *exec.add_mounts();
        memory.set_input(-1);
        memory.set_output(-1);
        memory.set_dest("/dev/shm");
        memory.set_mounttype(pb::MOUNT_TYPE_TMPFS);
        memory.mutable_tmpfsopt()->set_size(options_.shm_size);
    }
    sort_mounts(exec);
    Environment masked = state.variables.lookup();
    for (const Mount& each : run.mounts)
        if (each.type == MountType::secret && each.env) masked.set(*each.env, "****");
    name = shown(masked, name, {.escape = file_.escape, .keep_quotes = true, .keep_unset = true});
    state.files = draft_.add(op, step_name(state, name), metadata(state, instruction));
    draft_.place(state.files, instruction.lines.first, instruction.lines.last);
    remember(state, fmt::format("RUN {} # buildkit", run_text(words, state.arguments, state.variables.lookup())), true);
}

}  // namespace grua::build::dockerfile::detail
