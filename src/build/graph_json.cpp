#include "build/graph_json.hpp"

#include "base/encoding.hpp"
#include "base/utf8.hpp"

#include <concepts>
#include <map>
#include <string>
#include <string_view>

namespace grua::build {
namespace {

/// The members of an object; those that are empty are left out.
class Members {
public:
    Members& text(std::string_view name, const std::string& value) {
        if (!value.empty()) out_[name] = to_valid_utf8(value);
        return *this;
    }
    Members& bytes(std::string_view name, const std::string& value) {
        if (!value.empty()) out_[name] = base64_encode(value);
        return *this;
    }
    template <std::integral Number>
    Members& number(std::string_view name, Number value) {
        if (value != 0) out_[name] = value;
        return *this;
    }
    Members& always(std::string_view name, std::int64_t value) {
        out_[name] = value;
        return *this;
    }
    Members& flag(std::string_view name, bool value) {
        if (value) out_[name] = true;
        return *this;
    }
    Members& texts(std::string_view name, const auto& values) {
        boost::json::array all;
        for (const std::string& each : values) all.emplace_back(to_valid_utf8(each));
        return list_of(name, std::move(all));
    }
    Members& numbers(std::string_view name, const auto& values) {
        boost::json::array all;
        for (const auto each : values) all.emplace_back(each);
        return list_of(name, std::move(all));
    }
    template <typename Message>
    Members& each(std::string_view name, const google::protobuf::RepeatedPtrField<Message>& values) {
        boost::json::array all;
        for (const Message& one : values) all.push_back(write(one));
        return list_of(name, std::move(all));
    }
    /// In the order of the keys.
    template <typename Value>
    Members& map(std::string_view name, const google::protobuf::Map<std::string, Value>& values) {
        if (values.empty()) return *this;
        std::map<std::string_view, const Value*> sorted;
        for (const auto& [key, value] : values) sorted.emplace(key, &value);
        boost::json::object all;
        for (const auto& [key, value] : sorted) all[to_valid_utf8(key)] = write(*value);
        return object(name, std::move(all));
    }
    template <typename Message>
    Members& message(std::string_view name, bool is_there, const Message& value) {
        if (is_there) out_[name] = write(value);
        return *this;
    }
    Members& object(std::string_view name, boost::json::object value) {
        out_[name] = std::move(value);
        return *this;
    }
    boost::json::object take() { return std::move(out_); }

private:
    Members& list_of(std::string_view name, boost::json::array all) {
        if (!all.empty()) out_[name] = std::move(all);
        return *this;
    }
    static json::Value write(const std::string& text) { return boost::json::string(to_valid_utf8(text)); }
    static json::Value write(bool value) { return value; }
    template <typename Message>
    static json::Value write(const Message& message);

    boost::json::object out_;
};

// The members of each message, in the order of BuildKit's.

void add(Members& out, const pb::Position& from) { out.number("line", from.line()).number("character", from.character()); }

void add(Members& out, const pb::Range& from) {
    out.message("start", from.has_start(), from.start()).message("end", from.has_end(), from.end());
}

void add(Members& out, const pb::Location& from) { out.number("sourceIndex", from.sourceindex()).each("ranges", from.ranges()); }

void add(Members& out, const pb::Locations& from) { out.each("locations", from.locations()); }

void add(Members& out, const pb::SourceInfo& from) {
    out.text("filename", from.filename())
        .bytes("data", from.data())
        .message("definition", from.has_definition(), from.definition())
        .text("language", from.language());
}

void add(Members& out, const pb::Source& from) { out.map("locations", from.locations()).each("infos", from.infos()); }

void add(Members& out, const pb::ExportCache& from) { out.flag("Value", from.value()); }

void add(Members& out, const pb::ProgressGroup& from) { out.text("id", from.id()).text("name", from.name()).flag("weak", from.weak()); }

void add(Members& out, const pb::LinuxResources& from) {
    out.number("memory", from.memory())
        .number("memorySwap", from.memoryswap())
        .number("cpuShares", from.cpushares())
        .number("cpuPeriod", from.cpuperiod())
        .number("cpuQuota", from.cpuquota())
        .text("cpusetCpus", from.cpusetcpus())
        .text("cpusetMems", from.cpusetmems());
}

void add(Members& out, const pb::OpMetadata& from) {
    out.flag("ignore_cache", from.ignore_cache())
        .map("description", from.description())
        .message("export_cache", from.has_export_cache(), from.export_cache())
        .map("caps", from.caps())
        .message("progress_group", from.has_progress_group(), from.progress_group())
        .message("linux_resources", from.has_linux_resources(), from.linux_resources());
}

void add(Members& out, const pb::Definition& from) {
    std::vector<std::string> operations;
    for (const std::string& each : from.def()) operations.push_back(base64_encode(each));
    out.texts("def", operations).map("metadata", from.metadata()).message("Source", from.has_source(), from.source());
}

void add(Members& out, const pb::Input& from) { out.text("digest", from.digest()).number("index", from.index()); }

void add(Members& out, const pb::Platform& from) {
    out.text("Architecture", from.architecture())
        .text("OS", from.os())
        .text("Variant", from.variant())
        .text("OSVersion", from.osversion())
        .texts("OSFeatures", from.osfeatures());
}

void add(Members& out, const pb::WorkerConstraints& from) { out.texts("filter", from.filter()); }

void add(Members& out, const pb::ProxyEnv& from) {
    out.text("http_proxy", from.http_proxy())
        .text("https_proxy", from.https_proxy())
        .text("ftp_proxy", from.ftp_proxy())
        .text("no_proxy", from.no_proxy())
        .text("all_proxy", from.all_proxy());
}

void add(Members& out, const pb::HostIP& from) { out.text("Host", from.host()).text("IP", from.ip()); }

void add(Members& out, const pb::Ulimit& from) { out.text("Name", from.name()).number("Soft", from.soft()).number("Hard", from.hard()); }

void add(Members& out, const pb::Meta& from) {
    out.texts("args", from.args())
        .texts("env", from.env())
        .text("cwd", from.cwd())
        .text("user", from.user())
        .message("proxy_env", from.has_proxy_env(), from.proxy_env())
        .each("extraHosts", from.extrahosts())
        .text("hostname", from.hostname())
        .each("ulimit", from.ulimit())
        .text("cgroupParent", from.cgroupparent())
        .flag("removeMountStubsRecursive", from.removemountstubsrecursive())
        .numbers("validExitCodes", from.validexitcodes());
}

void add(Members& out, const pb::TmpfsOpt& from) { out.number("size", from.size()); }

void add(Members& out, const pb::CacheOpt& from) { out.text("ID", from.id()).number("sharing", static_cast<int>(from.sharing())); }

void add_file_of_client(Members& out, const auto& from) {
    out.text("ID", from.id())
        .number("uid", from.uid())
        .number("gid", from.gid())
        .number("mode", from.mode())
        .flag("optional", from.optional());
}
void add(Members& out, const pb::SecretOpt& from) { add_file_of_client(out, from); }
void add(Members& out, const pb::SSHOpt& from) { add_file_of_client(out, from); }

void add(Members& out, const pb::Mount& from) {
    out.number("input", from.input())
        .text("selector", from.selector())
        .text("dest", from.dest())
        .number("output", from.output())
        .flag("readonly", from.readonly())
        .number("mountType", static_cast<int>(from.mounttype()))
        .message("TmpfsOpt", from.has_tmpfsopt(), from.tmpfsopt())
        .message("cacheOpt", from.has_cacheopt(), from.cacheopt())
        .message("secretOpt", from.has_secretopt(), from.secretopt())
        .message("SSHOpt", from.has_sshopt(), from.sshopt())
        .text("resultID", from.resultid())
        .number("contentCache", static_cast<int>(from.contentcache()));
}

void add(Members& out, const pb::SecretEnv& from) { out.text("ID", from.id()).text("name", from.name()).flag("optional", from.optional()); }

void add(Members& out, const pb::CDIDevice& from) { out.text("name", from.name()).flag("optional", from.optional()); }

void add(Members& out, const pb::ExecOp& from) {
    out.message("meta", from.has_meta(), from.meta())
        .each("mounts", from.mounts())
        .number("network", static_cast<int>(from.network()))
        .number("security", static_cast<int>(from.security()))
        .each("secretenv", from.secretenv())
        .each("cdiDevices", from.cdidevices());
}

void add(Members& out, const pb::SourceOp& from) { out.text("identifier", from.identifier()).map("attrs", from.attrs()); }

void add(Members& out, const pb::BuildInput& from) { out.number("input", from.input()); }

void add(Members& out, const pb::BuildOp& from) {
    out.number("builder", from.builder())
        .map("inputs", from.inputs())
        .message("def", from.has_def(), from.def())
        .map("attrs", from.attrs());
}

void add(Members& out, const pb::NamedUserOpt& from) { out.text("name", from.name()).number("input", from.input()); }

void add(Members& out, const pb::UserOpt& from) {
    Members user;
    user.message("byName", from.has_byname(), from.byname()).number("byId", from.byid());
    out.object("User", user.take());
}

void add(Members& out, const pb::ChownOpt& from) {
    out.message("user", from.has_user(), from.user()).message("group", from.has_group(), from.group());
}

void add(Members& out, const pb::FileActionCopy& from) {
    out.text("src", from.src())
        .text("dest", from.dest())
        .message("owner", from.has_owner(), from.owner())
        .number("mode", from.mode())
        .flag("followSymlink", from.followsymlink())
        .flag("dirCopyContents", from.dircopycontents())
        .flag("attemptUnpackDockerCompatibility", from.attemptunpackdockercompatibility())
        .flag("createDestPath", from.createdestpath())
        .flag("allowWildcard", from.allowwildcard())
        .flag("allowEmptyWildcard", from.allowemptywildcard())
        .number("timestamp", from.timestamp())
        .texts("include_patterns", from.include_patterns())
        .texts("exclude_patterns", from.exclude_patterns())
        .flag("alwaysReplaceExistingDestPaths", from.alwaysreplaceexistingdestpaths())
        .text("modeStr", from.modestr())
        .texts("required_paths", from.required_paths());
}

void add(Members& out, const pb::FileActionMkFile& from) {
    out.text("path", from.path())
        .number("mode", from.mode())
        .bytes("data", from.data())
        .message("owner", from.has_owner(), from.owner())
        .number("timestamp", from.timestamp());
}

void add(Members& out, const pb::FileActionSymlink& from) {
    out.text("oldpath", from.oldpath())
        .text("newpath", from.newpath())
        .message("owner", from.has_owner(), from.owner())
        .number("timestamp", from.timestamp());
}

void add(Members& out, const pb::FileActionMkDir& from) {
    out.text("path", from.path())
        .number("mode", from.mode())
        .flag("makeParents", from.makeparents())
        .message("owner", from.has_owner(), from.owner())
        .number("timestamp", from.timestamp());
}

void add(Members& out, const pb::FileActionRm& from) {
    out.text("path", from.path()).flag("allowNotFound", from.allownotfound()).flag("allowWildcard", from.allowwildcard());
}

// Alone in that its numbers are there even where they are 0.
void add(Members& out, const pb::FileAction& from) {
    Members action;
    action.message("copy", from.has_copy(), from.copy())
        .message("mkfile", from.has_mkfile(), from.mkfile())
        .message("mkdir", from.has_mkdir(), from.mkdir())
        .message("rm", from.has_rm(), from.rm())
        .message("symlink", from.has_symlink(), from.symlink());
    out.always("input", from.input()).always("secondaryInput", from.secondaryinput()).always("output", from.output());
    out.object("Action", action.take());
}

void add(Members& out, const pb::FileOp& from) { out.each("actions", from.actions()); }

void add(Members& out, const pb::MergeInput& from) { out.number("input", from.input()); }
void add(Members& out, const pb::MergeOp& from) { out.each("inputs", from.inputs()); }

void add(Members& out, const pb::LowerDiffInput& from) { out.number("input", from.input()); }
void add(Members& out, const pb::UpperDiffInput& from) { out.number("input", from.input()); }
void add(Members& out, const pb::DiffOp& from) {
    out.message("lower", from.has_lower(), from.lower()).message("upper", from.has_upper(), from.upper());
}

void add(Members& out, const pb::PassthroughOp& from) { out.text("id", from.id()).numbers("outputs", from.outputs()); }

void add(Members& out, const pb::Op& from) {
    Members op;
    op.message("exec", from.has_exec(), from.exec())
        .message("source", from.has_source(), from.source())
        .message("file", from.has_file(), from.file())
        .message("build", from.has_build(), from.build())
        .message("merge", from.has_merge(), from.merge())
        .message("diff", from.has_diff(), from.diff())
        .message("passthrough", from.has_passthrough(), from.passthrough());
    out.each("inputs", from.inputs())
        .object("Op", op.take())
        .message("platform", from.has_platform(), from.platform())
        .message("constraints", from.has_constraints(), from.constraints());
}

template <typename Message>
json::Value Members::write(const Message& message) {
    Members out;
    add(out, message);
    return out.take();
}

template <typename Message>
json::Value document(const Message& message) {
    Members out;
    add(out, message);
    return out.take();
}

}  // namespace

json::Value to_json(const pb::Op& op) { return document(op); }
json::Value to_json(const pb::Definition& definition) { return document(definition); }
json::Value to_json(const pb::SourceInfo& file) { return document(file); }
json::Value to_json(const pb::Locations& locations) { return document(locations); }
json::Value to_json(const pb::Location& location) { return document(location); }
json::Value to_json(const pb::Range& range) { return document(range); }

json::Value location_json(const std::vector<pb::Range>& ranges) {
    pb::Location out;
    for (const pb::Range& each : ranges) *out.add_ranges() = each;
    return to_json(out);
}

}  // namespace grua::build
