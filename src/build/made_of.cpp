#include "build/made_of.hpp"

#include "base/utf8.hpp"
#include "build/history_record.hpp"
#include "build/wire/made.pb.h"
#include "content/hash.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace grua::build {
namespace {

constexpr std::size_t digest_bytes = 16;  ///< Of a file's digest: to tell files apart, not to trust them.
constexpr std::size_t data_limit = 4096;  ///< Of a file that the operation itself has; of more only the digest is kept.

std::string attribute(const wire::control::SolveRequest& request, const std::string& name) {
    const auto found = request.frontendattrs().find(name);
    return found == request.frontendattrs().end() ? std::string() : found->second;
}

std::string short_digest(const std::string& digest) {
    const std::size_t colon = digest.find(':');
    const std::string_view hex = colon == std::string::npos ? std::string_view(digest) : std::string_view(digest).substr(colon + 1);
    return std::string(hex.substr(0, 2 * digest_bytes));
}

/// Without passwords and tokens, and without what would make it large.
pb::Op shown_op(const pb::Op& op) {
    pb::Op out = op;
    if (out.has_source()) {
        pb::SourceOp& source = *out.mutable_source();
        source.set_identifier(text_without_credentials(source.identifier()));
        source.mutable_attrs()->erase("local.session");
        for (auto& [name, value] : *source.mutable_attrs()) value = text_without_credentials(value);
    }
    if (out.has_exec()) out.mutable_exec()->mutable_meta()->clear_proxy_env();
    if (out.has_file())
        for (pb::FileAction& each : *out.mutable_file()->mutable_actions())
            if (each.has_mkfile() && each.mkfile().data().size() > data_limit)
                each.mutable_mkfile()->set_data(content::digest_of(each.mkfile().data()).text());
    return out;
}

void write_file(const TreeIndex::value_type& entry, wire::made::File& out) {
    const auto& [path, about] = entry;
    out.set_path(to_valid_utf8(path));
    out.set_mode(about.mode);
    out.set_uid(about.uid);
    out.set_gid(about.gid);
    out.set_size(about.size);
    out.set_digest(short_digest(about.digest));
    out.set_link(to_valid_utf8(about.link));
    out.set_device(about.device);
    for (const auto& [name, value] : about.xattrs) (*out.mutable_xattrs())[to_valid_utf8(name)] = value;
}

}  // namespace

void ReadFiles::add(const TreeIndex::value_type& entry) {
    if (entries.size() >= limit)
        is_cut = true;
    else
        entries.push_back(entry);
}

std::string write_made_of(const MadeSteps& steps) {
    wire::made::MadeOf out;
    for (const auto& [digest, step] : steps) {
        wire::made::Step& made = *out.add_steps();
        made.set_vertex(digest);
        made.set_name(to_valid_utf8(step.vertex->name));
        *made.mutable_op() = shown_op(step.vertex->op);
        made.set_pin(step.pin);
        made.set_cached(step.was_cached);
        made.set_anew(step.vertex->metadata.ignore_cache());
        made.set_definitionkey(step.definition_key);
        made.set_contentskey(step.contents_key);
        for (std::size_t number = 0; number < step.vertex->inputs.size(); ++number) {
            const Edge& edge = step.vertex->inputs[number];
            wire::made::Input& input = *made.add_inputs();
            input.set_vertex(edge.vertex->digest);
            input.set_index(edge.index);
            if (number >= step.inputs.size()) continue;
            input.set_key(step.inputs[number].key);
            const ReadFilesPtr& files = step.inputs[number].files;
            input.set_bycontents(files != nullptr);
            if (!files) continue;
            input.set_cut(files->is_cut);
            for (const auto& each : files->entries) write_file(each, *input.add_files());
        }
    }
    return steps.empty() ? std::string() : out.SerializeAsString();
}

std::string project_of(const wire::control::SolveRequest& request, const std::string& folder) {
    std::string where = folder.empty() ? attribute(request, "context") : folder;
    // Of a folder that came in the request, and of which nothing is known: by the image's name.
    if (where.empty())
        for (const auto& each : request.exporters())
            if (const auto name = each.attrs().find("name"); name != each.attrs().end()) where += name->second + "\n";
    return content::digest_of(fmt::format("{}\n{}", where, attribute(request, "filename"))).text();
}

}  // namespace grua::build
