#include "build/front_end.hpp"

#include "base/encoding.hpp"
#include "base/files.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/classic_context.hpp"
#include "build/dockerfile/convert.hpp"
#include "build/dockerfile/directives.hpp"
#include "build/dockerfile/lint.hpp"
#include "build/dockerfile/named_context.hpp"
#include "build/failure.hpp"
#include "build/front_end_request.hpp"
#include "build/oci_layout.hpp"
#include "build/remote_context.hpp"
#include "build/sbom.hpp"
#include "build/selection.hpp"
#include "build/step.hpp"
#include "build/wire/common.pb.h"
#include "linux/root.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace grua::build {
namespace {

using dockerfile::Conversion;
using dockerfile::ConvertOptions;
using dockerfile::ImageName;
using dockerfile::KnownImage;

constexpr std::size_t dockerfile_limit = std::size_t{10} << 20U;
constexpr const char* syntax_argument = "build-arg:BUILDKIT_SYNTAX";
constexpr std::size_t warned_source_limit = std::size_t{4} << 20U;  ///< Of the Dockerfile, with all warnings of it together.

std::string option(const FrontEndOptions& options, std::string_view name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
}

std::vector<std::string> list_of(const std::string& text) {
    std::vector<std::string> out;
    for (std::string& each : split(text, ','))
        if (!each.empty()) out.push_back(std::move(each));
    return out;
}

template <typename Take>
void each_with(const FrontEndOptions& options, std::string_view prefix, Take take) {
    for (auto each = options.lower_bound(prefix); each != options.end() && each->first.starts_with(prefix); ++each)
        take(each->first.substr(prefix.size()), each->second);
}

pb::NetMode network_of(const std::string& mode) {
    if (mode.empty() || mode == "default" || mode == "sandbox") return pb::NET_MODE_UNSET;
    if (mode == "none") return pb::NET_MODE_NONE;
    if (mode == "host") return pb::NET_MODE_HOST;
    fail(ErrorKind::invalid_argument, "invalid netmode {}", mode);
}

std::vector<dockerfile::HostEntry> hosts_of(const std::string& text) {
    std::vector<dockerfile::HostEntry> out;
    for (const std::string& each : list_of(text)) {
        const std::size_t sign = each.find('=');
        if (sign == std::string::npos || sign == 0) fail(ErrorKind::invalid_argument, "invalid key-value pair: {}", each);
        out.push_back({.host = each.substr(0, sign), .ip = each.substr(sign + 1)});
    }
    return out;
}

std::vector<dockerfile::ResourceLimit> limits_of(const std::string& text) {
    std::vector<dockerfile::ResourceLimit> out;
    for (const std::string& each : list_of(text)) {
        const std::size_t sign = each.find('=');
        const std::size_t colon = each.find(':', sign == std::string::npos ? 0 : sign);
        const auto soft = sign == std::string::npos ? std::nullopt : parse_int(each.substr(sign + 1, colon - sign - 1));
        const auto hard = colon == std::string::npos ? soft : parse_int(each.substr(colon + 1));
        if (!soft || !hard) fail(ErrorKind::invalid_argument, "failed to parse ulimit: {}", each);
        out.push_back({.name = each.substr(0, sign), .soft = *soft, .hard = *hard});
    }
    return out;
}

std::string json_list(const std::vector<std::string>& values) {
    boost::json::array out;
    for (const std::string& each : values) out.emplace_back(each);
    return boost::json::serialize(out);
}

/// Whether a failure says where in a file it is (failure.hpp).
bool has_place(const grpc::Status& status) {
    wire::common::Status about;
    if (!about.ParseFromString(status.details)) return false;
    return std::ranges::any_of(about.details(), [](const auto& each) { return each.type_url().ends_with("/errdefs.Source+json"); });
}

/// One run of the front end.
class FrontEnd {
public:
    FrontEnd(Workplace& place, BuildPtr build, FrontEndOptions options, FrontEndInputs inputs, MakeTree make, Forward forward)
        : place_(place),
          build_(std::move(build)),
          options_(std::move(options)),
          inputs_(std::move(inputs)),
          make_(std::move(make)),
          forward_(std::move(forward)) {}

    asio::awaitable<wire::bridge::Result> run() {
        co_await find_context();
        co_await read_dockerfile();
        if (const auto other = other_front_end()) co_return co_await ask(*other);
        co_await read_ignore_file();
        if (options_.contains("requestid")) co_return co_await run_request(request());
        const std::vector<std::string> platforms = list_of(option(options_, "platform"));
        wire::bridge::Result out;
        if (platforms.size() < 2) {
            const Conversion made =
                co_await convert(platforms.empty() ? oci::Platform::host() : oci::Platform::parse(platforms.front()), false);
            *out.mutable_ref()->mutable_def() = made.definition;
            (*out.mutable_metadata())["containerimage.config"] = to_valid_utf8(json::dump(made.image, {}));
            note_target({made.image.architecture, made.image.os, made.image.variant, made.image.os_version}, made);
        } else {
            out = co_await for_all(platforms);
        }
        const AttestationWishes wishes = parse_attestations(options_);
        if (wishes.sbom)
            co_await add_sboms(place_, build_, *wishes.sbom, option(options_, "image-resolve-mode"), std::move(scan_targets_), out);
        co_return out;
    }

private:
    void note_target(oci::Platform platform, const Conversion& made) {
        scan_targets_.push_back(
            {.platform = std::move(platform), .core = made.definition, .extras = made.also_scanned, .ignores_cache = made.ignores_cache});
    }

    /// That the file or the client asks for. Who has been asked by another front end is the one.
    std::optional<dockerfile::Directive> other_front_end() const {
        if (options_.contains("cmdline")) return std::nullopt;
        std::optional<dockerfile::Directive> out;
        if (const auto given = options_.find(syntax_argument); given != options_.end())
            out = dockerfile::Directive{.name = "syntax", .value = std::string(trim(given->second)), .line = 0};
        else
            out = dockerfile::detect_syntax(source_);
        if (out && is_dockerfile_front_end(out->first_word())) out.reset();
        return out;
    }

    asio::awaitable<wire::bridge::Result> ask(dockerfile::Directive other) {
        FrontEndOptions options = options_;
        options["cmdline"] = other.value;
        options["source"] = other.first_word();
        std::optional<Error> failure;
        try {
            co_return co_await forward_(std::move(options));
        } catch (const grpc::CallError& error) {
            // What has a place already is in a file of its own.
            if (has_place(error.status())) throw;
            failure = error;
        } catch (const Error& error) {
            failure = error;
        }
        if (other.line == 0) fail(failure->kind(), "failed with {} = {}: {}", syntax_argument, other.value, failure->what());
        throw failure_at(failure->what(), {.file = source_info(), .ranges = {lines(other.line, other.line)}});
    }

    /// In place of a build.
    FrontEndRequest request() {
        const std::vector<std::string> platforms = list_of(option(options_, "platform"));
        const ConvertOptions options =
            convert_options(platforms.empty() ? oci::Platform::host() : oci::Platform::parse(platforms.front()), false);
        FrontEndRequest out{.id = option(options_, "requestid"), .file = source_info(), .inputs = options.inputs, .ignore = &ignore_};
        if (const std::string check = option(options_, "build-arg:BUILDKIT_DOCKERFILE_CHECK"); !check.empty())
            out.check = dockerfile::LintConfig::parse(check);
        out.is_replaced = [contexts = options.contexts](const std::string& name, const oci::Platform& platform) {
            return dockerfile::find_named_context(contexts, name, platform).has_value();
        };
        out.base_image = [this, options](const std::string& name, const oci::Platform& platform) {
            return base_image(name, platform, options);
        };
        return out;
    }

    asio::awaitable<dockerfile::BaseImage> base_image(std::string name, oci::Platform platform, ConvertOptions options) {
        const auto context = dockerfile::find_named_context(options.contexts, name, platform);
        const ImageName image{.reference = context ? *context : oci::Reference::parse(name).with_default_tag().text(),
                              .platform = platform.text(),
                              .is_context = context.has_value()};
        const KnownImage found = context ? co_await named_context(image, options) : co_await look_at(image, options.resolve_mode);
        dockerfile::BaseImage out{.env = found.config.config.env,
                                  .has_shell = !found.config.config.shell.empty(),
                                  .on_build = found.config.config.on_build,
                                  .platform = {}};
        if (!found.config.os.empty()) out.platform = {found.config.architecture, found.config.os, found.config.variant, {}};
        co_return out;
    }

    std::string session_for(const std::string& name) const {
        const std::string other = option(options_, "local-sessionid:" + name);
        return other.empty() ? build_->request.session() : other;
    }

    asio::awaitable<std::shared_ptr<const Context>> fetch(std::string name, std::vector<std::string> follow, Step& step, std::string told) {
        build_->record.seen.folders.insert(name);
        std::uint64_t came = 0;
        const auto out = co_await fetch_local(
            place_, {.name = name, .session = session_for(name), .include = {}, .exclude = {}, .follow = std::move(follow), .key = {}},
            [&](std::uint64_t bytes) {
                came = bytes;
                step.advanced(told, bytes, 0, false);
            });
        step.advanced(told, came, 0, true);
        co_return out;
    }

    /// Of a context that is none of the client's folders, what it is.
    asio::awaitable<void> find_context() {
        remote_ = find_remote_context(
            option(options_, "context"),
            {.keep_git_dir = dockerfile::parse_truth(option(options_, "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR")) == dockerfile::Truth::yes,
             .commit_times = !option(options_, "build-arg:SOURCE_DATE_EPOCH").empty()});
        if (!remote_ || remote_->kind != RemoteContext::Kind::http) co_return;
        Draft draft;
        const pb::Definition source = draft.define(draft.add(remote_->source, remote_->name));
        const TreePtr tree = co_await make_(source);
        remote_is_archive_ = co_await detail::at_length(place_, [tree, name = remote_->filename](const std::stop_token&) {
            const Root root = Root::at(tree->open());
            return is_context_archive(root.open_at(name, O_RDONLY).get());
        });
    }

    Draft::Output remote_context(Draft& draft) const {
        const Draft::Output all = add_remote_context(draft, *remote_, remote_is_archive_);
        const std::string folder = option(options_, "contextsubdir");
        return folder.empty() ? all : add_context_folder(draft, all, folder);
    }

    asio::awaitable<void> read_remote_dockerfile() {
        // A file that is no archive is the Dockerfile itself.
        const bool is_file = remote_->kind == RemoteContext::Kind::http && !remote_is_archive_;
        const std::string name = is_file ? remote_->filename : filename_;
        Draft draft;
        const pb::Definition context = draft.define(remote_context(draft));
        const TreePtr tree = co_await make_(context);
        file_definition_ = context;
        auto text = co_await detail::at_length(place_, [tree, name](const std::stop_token&) -> std::optional<std::string> {
            const Root root = Root::at(tree->open());
            const auto file = root.find_at(name, O_RDONLY | O_NONBLOCK);
            if (!file) return std::nullopt;
            struct stat about{};
            if (::fstat(file->get(), &about) != 0 || !S_ISREG(about.st_mode)) return std::nullopt;
            return read_all(file->get(), name, dockerfile_limit);
        });
        if (!text) fail(ErrorKind::not_found, "failed to read dockerfile: open {}: no such file or directory", filename_);
        source_ = std::move(*text);
        ignored_ = std::string();  // Such a context is taken as it is.
    }

    asio::awaitable<void> read_dockerfile() {
        filename_ = option(options_, "filename");
        if (filename_.empty()) filename_ = "Dockerfile";
        if (remote_ && option(options_, "dockerfilekey").empty()) co_return co_await read_remote_dockerfile();
        const std::string key = option(options_, "dockerfilekey").empty() ? "dockerfile" : option(options_, "dockerfilekey");
        std::vector<std::string> follow{filename_, filename_ + ".dockerignore"};
        // As BuildKit does for a name that people write in lower case.
        if (filename_ == "Dockerfile") follow.emplace_back("dockerfile");
        std::shared_ptr<const Context> files;
        co_await in_step(build_->journal, fmt::format("[internal] load build definition from {}", filename_),
                         [&](Step& step) -> asio::awaitable<void> {
                             definition_step_ = step.digest();
                             file_definition_ = definition_of_file(key, follow);
                             files = co_await fetch(key, follow, step, "transferring dockerfile:");
                         });
        co_await offload(place_.pool, [&] {
            auto text = read_context_file(*files, filename_);
            if (!text && filename_ == "Dockerfile") text = read_context_file(*files, "dockerfile");
            const auto found = files->index().find(filename_);
            if (!text && found != files->index().end() && S_ISDIR(found->second.mode))
                fail(ErrorKind::invalid_argument, "failed to read dockerfile: read {}: is a directory", filename_);
            if (!text) fail(ErrorKind::not_found, "failed to read dockerfile: open {}: no such file or directory", filename_);
            source_ = std::move(*text);
            ignored_ = read_context_file(*files, filename_ + ".dockerignore");
        });
    }

    asio::awaitable<void> read_ignore_file() {
        co_await in_step(build_->journal, "[internal] load .dockerignore", [&](Step& step) -> asio::awaitable<void> {
            if (ignored_ || remote_) co_return;
            const auto files = co_await fetch(context_name(), {".dockerignore"}, step, "transferring context:");
            ignored_ = co_await offload(place_.pool, [&] { return read_context_file(*files, ".dockerignore"); });
        });
        if (!ignored_) co_return;
        ignore_ = IgnoreFile::parse(*ignored_);
        for (const IgnoreFile::Rule& each : ignore_.rules()) excluded_.push_back((each.exception ? "!" : "") + each.pattern.text());
    }

    std::string context_name() const {
        const std::string key = option(options_, "contextkey");
        return key.empty() ? "context" : key;
    }

    ConvertOptions convert_options(const oci::Platform& platform, bool is_one_of_several) const {
        ConvertOptions out;
        each_with(options_, "build-arg:", [&](const std::string& name, const std::string& value) { out.inputs.arguments[name] = value; });
        each_with(options_, "label:", [&](const std::string& name, const std::string& value) { out.labels[name] = value; });
        out.inputs.target = option(options_, "target");
        out.inputs.target_platform = platform;
        out.has_platform = !option(options_, "platform").empty();
        out.several_platforms = is_one_of_several;
        if (const auto found = options_.find("no-cache"); found != options_.end()) {
            for (const std::string& each : list_of(found->second)) out.no_cache_stages.insert(each);
            out.no_cache = out.no_cache_stages.empty();
        }
        out.resolve_mode = option(options_, "image-resolve-mode");
        if (out.resolve_mode.empty()) out.resolve_mode = "default";
        out.network = network_of(option(options_, "force-network-mode"));
        out.hosts = hosts_of(option(options_, "add-hosts"));
        out.limits = limits_of(option(options_, "ulimit"));
        if (const std::string size = option(options_, "shm-size"); !size.empty()) {
            const auto bytes = parse_int(size);
            if (!bytes || *bytes < 0) fail(ErrorKind::invalid_argument, "failed to parse shm-size: {}", size);
            out.shm_size = *bytes;
        }
        out.cgroup_parent = option(options_, "cgroup-parent");
        out.hostname = option(options_, "build-arg:BUILDKIT_SANDBOX_HOSTNAME");
        out.cache_namespace = option(options_, "build-arg:BUILDKIT_CACHE_MOUNT_NS");
        out.filename = filename_;
        each_with(options_, "context:", [&](const std::string& name, const std::string&) { out.contexts.insert(name); });
        out.context = [this](Draft& draft, const std::vector<std::string>& paths) { return context(draft, paths); };
        return out;
    }

    Draft::Output context(Draft& draft, const std::vector<std::string>& paths) const {
        if (remote_) return remote_context(draft);
        pb::Op op;
        pb::SourceOp& source = *op.mutable_source();
        source.set_identifier("local://" + context_name());
        auto& attributes = *source.mutable_attrs();
        if (!excluded_.empty()) attributes["local.excludepatterns"] = json_list(excluded_);
        if (!paths.empty()) attributes["local.followpaths"] = json_list(paths);
        attributes["local.sharedkeyhint"] = context_name();
        attributes["local.session"] = session_for(context_name());
        return draft.add(op, "[internal] load build context");
    }

    asio::awaitable<Conversion> convert(oci::Platform platform, bool is_one_of_several) {
        const ConvertOptions options = convert_options(platform, is_one_of_several);
        std::map<ImageName, KnownImage> images;
        check_options();
        Conversion made;
        std::exception_ptr failure;
        try {
            in_the_file([&] { file_ = dockerfile::read_dockerfile(source_); });
        } catch (...) {
            warn(options, images);
            throw;
        }
        for (;;) {
            try {
                in_the_file([&] { made = dockerfile::convert(source_, file_, options, images); });
            } catch (...) {
                failure = std::current_exception();
            }
            if (failure || made.wanted.empty()) {
                warn(options, images);
                if (failure) std::rethrow_exception(failure);
                for (pb::SourceInfo& each : *made.definition.mutable_source()->mutable_infos())
                    *each.mutable_definition() = file_definition_;
                co_return made;
            }
            for (const ImageName& each : made.wanted)
                images[each] = each.is_context ? co_await named_context(each, options) : co_await look_at(each, options.resolve_mode);
        }
    }

    asio::awaitable<KnownImage> look_at(ImageName name, std::string resolve_mode) {
        const auto found = co_await in_step(
            build_->journal, fmt::format("[internal] load metadata for {}", name.reference),
            [&](Step&) -> asio::awaitable<std::shared_ptr<ResolvedImage>> {
                try {
                    co_return std::make_shared<ResolvedImage>(co_await place_.resolver.resolve(
                        name.reference, oci::Platform::parse(name.platform), parse_image_policy(resolve_mode), build_->request.session()));
                } catch (Error& error) {
                    error.add_context(fmt::format("failed to resolve source metadata for {}", name.reference));
                    throw;
                }
            });
        build_->record.seen.images.try_emplace({.reference = name.reference, .platform = name.platform}, found->digest);
        KnownImage out;
        out.config = found->config;
        // From a registry it is that one, whatever the tag means when it is fetched.
        if (!found->image) out.pinned = fmt::format("{}@{}", name.reference, found->digest);
        // The tag of one that is here may be another one's when its files are wanted.
        if (found->image) out.digest = found->digest;
        held_.push_back(found->held);
        co_return out;
    }

    /// What a client has given the name of an image or a stage.
    asio::awaitable<KnownImage> named_context(ImageName name, const ConvertOptions& options) {
        const std::string what = option(options_, "context:" + name.reference);
        const std::size_t colon = what.find(':');
        const std::string kind = what.substr(0, colon);
        const std::string value = colon == std::string::npos ? std::string() : what.substr(colon + 1);
        if (kind == "docker-image") {
            const std::string reference = oci::Reference::parse(value.substr(value.find_first_not_of('/'))).with_default_tag().text();
            KnownImage out = co_await look_at({.reference = reference, .platform = name.platform}, options.resolve_mode);
            out.files = [reference, name, mode = options.resolve_mode, pinned = out.pinned, digest = out.digest](Draft& draft) {
                pb::Op op;
                op.mutable_source()->set_identifier("docker-image://" + (pinned.empty() ? reference : pinned));
                (*op.mutable_source()->mutable_attrs())["image.resolvemode"] = mode;
                if (!digest.empty()) (*op.mutable_source()->mutable_attrs())["image.checksum"] = digest;
                set_platform(op, oci::Platform::parse(name.platform));
                return draft.add(op, fmt::format("[context {}] {}", name.reference, pinned.empty() ? reference : pinned));
            };
            co_return out;
        }
        if (kind == "oci-layout")
            co_return co_await layout_context(name, value.substr(std::min(value.size(), value.find_first_not_of('/'))));
        if (kind == "local") co_return co_await local_context(name.reference, value);
        if (kind == "input") co_return input_context(name.reference, value);
        fail(ErrorKind::not_implemented, "not implemented: the named context {}={}", name.reference, what);
    }

    asio::awaitable<KnownImage> layout_context(ImageName name, std::string reference) {
        LayoutSource source = parse_layout_reference(reference);
        source.session = build_->request.session();
        const oci::Platform platform = oci::Platform::parse(name.platform);
        const auto found = co_await in_step(build_->journal, fmt::format("[context {}] load metadata for {}", name.reference, reference),
                                            [&](Step&) -> asio::awaitable<std::shared_ptr<const LayoutImage>> {
                                                return find_layout_image(place_.sessions, source, platform);
                                            });
        KnownImage out;
        out.config = found->config;
        out.files = [name, source, platform](Draft& draft) {
            pb::Op op;
            op.mutable_source()->set_identifier(fmt::format("{}{}@{}", layout_scheme, source.store, source.digest.text()));
            auto& attributes = *op.mutable_source()->mutable_attrs();
            attributes["oci.store"] = source.store;
            attributes["oci.session"] = source.session;
            set_platform(op, platform);
            return draft.add(op, fmt::format("[context {}] OCI load from client", name.reference));
        };
        co_return out;
    }

    asio::awaitable<KnownImage> local_context(std::string name, std::string folder) {
        const auto ignored =
            co_await in_step(build_->journal, fmt::format("[context {}] load .dockerignore", name),
                             [&](Step& step) -> asio::awaitable<std::optional<std::string>> {
                                 const auto files = co_await fetch(folder, {".dockerignore"}, step, fmt::format("transferring {}:", name));
                                 co_return co_await offload(place_.pool, [&] { return read_context_file(*files, ".dockerignore"); });
                             });
        std::vector<std::string> excluded;
        if (ignored) {
            for (const IgnoreFile::Rule& each : IgnoreFile::parse(*ignored).rules())
                excluded.push_back((each.exception ? "!" : "") + each.pattern.text());
        }
        KnownImage out;
        out.files = [this, name, folder, excluded](Draft& draft) {
            pb::Op op;
            op.mutable_source()->set_identifier("local://" + folder);
            auto& attributes = *op.mutable_source()->mutable_attrs();
            if (!excluded.empty()) attributes["local.excludepatterns"] = json_list(excluded);
            attributes["local.sharedkeyhint"] = "context:" + name;
            attributes["local.session"] = session_for(folder);
            return draft.add(op, fmt::format("[context {}] load from client", name));
        };
        co_return out;
    }

    /// What another front end has made, as bake gives it.
    KnownImage input_context(const std::string& name, const std::string& input) const {
        const auto found = build_->request.frontendinputs().find(input);
        const auto given = inputs_.find(input);
        if (found == build_->request.frontendinputs().end() && given == inputs_.end())
            fail(ErrorKind::invalid_argument, "invalid input {} for {}", input, name);
        KnownImage out;
        if (const std::string about = option(options_, "input-metadata:" + input); !about.empty()) {
            const auto document = boost::json::parse(about);
            const auto* config = document.is_object() ? document.get_object().if_contains("containerimage.config") : nullptr;
            if (config && config->is_string()) {
                const auto text = base64_decode(std::string_view(config->get_string()));
                if (!text) fail(ErrorKind::invalid_argument, "input-metadata:{}: containerimage.config is no base64", input);
                out.config = oci::parse_image_config(*text);
            }
        }
        const pb::Definition& definition = given != inputs_.end() ? given->second : found->second;
        out.files = [definition](Draft& draft) { return draft.take_in(definition); };
        return out;
    }

    asio::awaitable<wire::bridge::Result> for_all(std::vector<std::string> platforms) {
        wire::bridge::Result out;
        boost::json::array named;
        for (const std::string& each : platforms) {
            const oci::Platform platform = oci::Platform::parse(each);
            const std::string id = platform.text();
            const Conversion made = co_await convert(platform, true);
            *(*out.mutable_refs()->mutable_refs())[id].mutable_def() = made.definition;
            (*out.mutable_metadata())["containerimage.config/" + id] = to_valid_utf8(json::dump(made.image, {}));
            note_target(platform, made);
            boost::json::object about{{"architecture", platform.architecture}, {"os", platform.os}};
            if (!platform.variant.empty()) about["variant"] = platform.variant;
            named.push_back(boost::json::object{{"ID", id}, {"Platform", std::move(about)}});
        }
        (*out.mutable_metadata())["refs.platforms"] = boost::json::serialize(boost::json::object{{"Platforms", std::move(named)}});
        co_return out;
    }

    pb::SourceInfo source_info() const {
        pb::SourceInfo out;
        out.set_filename(filename_);
        out.set_data(source_);
        out.set_language("Dockerfile");
        *out.mutable_definition() = file_definition_;
        return out;
    }

    /// How the Dockerfile was loaded, for those who are told where something stands in it.
    pb::Definition definition_of_file(const std::string& key, const std::vector<std::string>& follow) const {
        Draft draft;
        pb::Op op;
        pb::SourceOp& source = *op.mutable_source();
        source.set_identifier("local://" + key);
        auto& attributes = *source.mutable_attrs();
        attributes["local.followpaths"] = json_list(follow);
        attributes["local.sharedkeyhint"] = key;
        attributes["local.session"] = session_for(key);
        return draft.define(draft.add(op, fmt::format("[internal] load build definition from {}", filename_)));
    }

    template <typename Body>
    void in_the_file(Body body) const {
        try {
            body();
        } catch (const dockerfile::SourceError& error) {
            Place place{.file = source_info(), .ranges = {}};
            if (error.lines().first > 0) place.ranges.push_back(lines(error.lines().first, error.lines().last));
            throw failure_at(error.what(), place);
        }
    }

    /// What the file says about checks must be right, whatever else is.
    void check_options() const {
        const std::string given = option(options_, "build-arg:BUILDKIT_DOCKERFILE_CHECK");
        if (!given.empty()) {
            while_doing("failed to parse check options", [&] { (void)dockerfile::LintConfig::parse(given); });
        } else if (const auto check = dockerfile::find_directive(source_, "check")) {
            while_doing("failed to parse check options", [&] { (void)dockerfile::LintConfig::parse(check->first_word()); });
        }
    }

    /// Once, whatever the platforms are.
    void warn(const ConvertOptions& options, const std::map<ImageName, KnownImage>& images) {
        if (std::exchange(has_warned_, true)) return;
        dockerfile::LintInputs inputs{.build = options.inputs};
        inputs.ignore = &ignore_;
        inputs.base_image = [&images](const std::string& name, const oci::Platform& wanted) -> std::optional<dockerfile::BaseImage> {
            const auto found = images.find({.reference = oci::Reference::parse(name).with_default_tag().text(), .platform = wanted.text()});
            if (found == images.end()) return std::nullopt;
            const oci::ImageConfig& config = found->second.config;
            return dockerfile::BaseImage{.env = config.config.env,
                                         .has_shell = !config.config.shell.empty(),
                                         .on_build = config.config.on_build,
                                         .platform = oci::Platform{config.architecture, config.os, config.variant, {}}};
        };
        if (const std::string check = option(options_, "build-arg:BUILDKIT_DOCKERFILE_CHECK"); !check.empty())
            inputs.config = dockerfile::LintConfig::parse(check);
        const dockerfile::LintResult found = dockerfile::lint(source_, inputs);
        // Each has the whole file with it, for clients to show its lines.
        std::size_t room = warned_source_limit;
        for (const dockerfile::LintWarning& each : found.warnings) {
            wire::control::VertexWarning warning;
            warning.set_vertex(definition_step_);
            warning.set_level(1);
            warning.set_short_(dockerfile::short_text(each));
            warning.add_detail(std::string(dockerfile::about(each.rule).description));
            warning.set_url(std::string(dockerfile::about(each.rule).url));
            if (source_.size() <= room) {
                room -= source_.size();
                *warning.mutable_info() = source_info();
                *warning.add_ranges() = lines(each.lines.first, each.lines.last);
            }
            build_->journal.warned(std::move(warning));
        }
        if (const std::string violation = found.violation(); !found.error && !violation.empty())
            fail(ErrorKind::invalid_argument, "{}", violation);
    }

    Workplace& place_;
    BuildPtr build_;
    FrontEndOptions options_;
    FrontEndInputs inputs_;
    MakeTree make_;
    Forward forward_;
    std::optional<RemoteContext> remote_;
    bool remote_is_archive_ = false;
    std::string filename_;
    std::string source_;
    std::string definition_step_;
    pb::Definition file_definition_;
    std::optional<std::string> ignored_;
    IgnoreFile ignore_;
    std::vector<std::string> excluded_;
    dockerfile::Dockerfile file_;
    bool has_warned_ = false;
    std::vector<ScanTarget> scan_targets_;
    std::vector<images::ImageStore::Lease> held_;
};

}  // namespace

bool is_dockerfile_front_end(std::string_view source) {
    try {
        const std::string name = oci::Reference::parse(source).name();
        return name == "docker.io/docker/dockerfile" || name == "docker.io/docker/dockerfile-upstream";
    } catch (const Error&) {
        return false;
    }
}

asio::awaitable<wire::bridge::Result> run_front_end(Workplace& place, BuildPtr build, FrontEndOptions options, FrontEndInputs inputs,
                                                    MakeTree make, Forward forward) {
    FrontEnd front(place, std::move(build), std::move(options), std::move(inputs), std::move(make), std::move(forward));
    co_return co_await front.run();
}

}  // namespace grua::build
