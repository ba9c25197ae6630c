#include "build/sbom.hpp"

#include "build/draft.hpp"
#include "build/step.hpp"

#include <algorithm>

namespace grua::build {
namespace {

constexpr std::string_view spdx = "https://spdx.dev/Document";
constexpr std::string_view core_name = "sbom";
constexpr std::string_view core_folder = "/run/src/core/sbom";
constexpr std::string_view extras_folder = "/run/src/extras/";
constexpr std::string_view destination = "/run/out/";
constexpr int said_output = 1;

pb::Mount& add_mount(pb::Op& op, std::string path, const Draft::Output& from) {
    pb::Mount& out = *op.mutable_exec()->add_mounts();
    out.set_input(input_of(op, from));
    out.set_output(-1);
    out.set_dest(std::move(path));
    return out;
}

asio::awaitable<Scanner> find_scanner(Workplace& place, BuildPtr build, SbomWish wish, std::string resolve_mode) {
    Scanner out{
        .name = wish.generator, .digest = {}, .config = {}, .platform = oci::Platform::host(), .parameters = std::move(wish.parameters)};
    const std::string name = out.name.text();
    co_await in_step(build->journal, fmt::format("[internal] load metadata for {}", name), [&](Step&) -> asio::awaitable<void> {
        try {
            const ResolvedImage found =
                co_await place.resolver.resolve(name, out.platform, parse_image_policy(resolve_mode), build->request.session());
            out.config = found.config;
            out.digest = found.digest;
        } catch (Error& error) {
            error.add_context(fmt::format("failed to resolve source metadata for {}", name));
            throw;
        }
    });
    co_return out;
}

}  // namespace

pb::Definition scan(const Scanner& scanner, const ScanTarget& target) {
    std::vector<std::string> words = scanner.config.config.entrypoint.value_or(std::vector<std::string>{});
    if (const auto& more = scanner.config.config.cmd) words.insert(words.end(), more->begin(), more->end());
    if (words.empty()) fail(ErrorKind::invalid_argument, "scanner {} does not have cmd", scanner.name.text());
    Draft draft;
    pb::Op image;
    image.mutable_source()->set_identifier("docker-image://" + scanner.name.text());
    if (!scanner.digest.empty()) (*image.mutable_source()->mutable_attrs())["image.checksum"] = scanner.digest;
    set_platform(image, scanner.platform);
    pb::Op op;
    set_platform(op, scanner.platform);
    add_mount(op, "/", draft.add(image, "FROM " + scanner.name.text())).set_output(0);
    pb::Mount& temporary = add_mount(op, "/tmp", {});
    temporary.set_mounttype(pb::MOUNT_TYPE_TMPFS);
    temporary.mutable_tmpfsopt();
    add_mount(op, std::string(core_folder), draft.take_in(target.core)).set_readonly(true);
    for (const auto& [name, extra] : target.extras)
        add_mount(op, fmt::format("{}{}-{}", extras_folder, core_name, name), draft.take_in(extra)).set_readonly(true);
    add_mount(op, std::string(destination), {}).set_output(said_output);
    pb::Meta& meta = *op.mutable_exec()->mutable_meta();
    for (const std::string& each : words) meta.add_args(each);
    for (const std::string& each : scanner.config.config.env) meta.add_env(each);
    meta.add_env(fmt::format("BUILDKIT_SCAN_DESTINATION={}", destination));
    meta.add_env(fmt::format("BUILDKIT_SCAN_SOURCE={}", core_folder));
    if (!target.extras.empty()) meta.add_env(fmt::format("BUILDKIT_SCAN_SOURCE_EXTRAS={}", extras_folder));
    for (const auto& [name, value] : scanner.parameters) meta.add_env(fmt::format("BUILDKIT_SCAN_{}={}", name, value));
    meta.set_cwd(scanner.config.config.working_dir.empty() ? "/" : scanner.config.config.working_dir);
    pb::OpMetadata about;
    if (target.ignores_cache) about.set_ignore_cache(true);
    Draft::Output said =
        draft.add(op, fmt::format("[{}] generating sbom using {}", target.platform.text(), scanner.name.text()), std::move(about));
    said.index = said_output;
    return draft.define(said);
}

asio::awaitable<void> add_sboms(Workplace& place, BuildPtr build, SbomWish wish, std::string resolve_mode, std::vector<ScanTarget> targets,
                                wire::bridge::Result& result) {
    std::erase_if(targets, [](const ScanTarget& each) { return each.core.def().empty(); });
    if (targets.empty()) co_return;
    const Scanner scanner = co_await find_scanner(place, std::move(build), std::move(wish), std::move(resolve_mode));
    for (const ScanTarget& each : targets) {
        wire::bridge::Attestation& out = *(*result.mutable_attestations())[each.platform.text()].add_attestation();
        out.set_kind(wire::bridge::ATTESTATION_KIND_Bundle);
        (*out.mutable_metadata())["reason"] = "sbom";
        (*out.mutable_metadata())["sbom-core"] = core_name;
        out.set_intotopredicatetype(std::string(spdx));
        *out.mutable_ref()->mutable_def() = scan(scanner, each);
    }
}

bool has_sbom(const wire::bridge::Result& result) {
    return std::ranges::any_of(result.attestations(), [](const auto& platform) {
        return std::ranges::any_of(platform.second.attestation(), [](const auto& each) { return each.intotopredicatetype() == spdx; });
    });
}

}  // namespace grua::build
