#include "cli/docker_context.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "cli/context.hpp"
#include "cli/docker_config.hpp"

#include <boost/json.hpp>
#include <filesystem>

namespace grua::cli {

std::string docker_context_host(const std::string& name) {
    if (name.empty() || name == "default") return {};
    const std::filesystem::path contexts = config_folder() + "/contexts";
    std::error_code ignored;
    // A folder's name is a hash of the context's; the name is in the file.
    for (const auto& folder : std::filesystem::directory_iterator(contexts / "meta", ignored)) {
        const std::string path = folder.path() / "meta.json";
        if (!std::filesystem::is_regular_file(path, ignored)) continue;
        boost::system::error_code wrong;
        const Value document = boost::json::parse(read_file(path), wrong);
        if (wrong) fail(ErrorKind::invalid_argument, "{}: it is not JSON: {}", path, wrong.message());
        if (text_at(document, "Name") != name) continue;
        const std::string host = text_at(at(at(document, "Endpoints"), "docker"), "Host");
        if (host.empty()) fail(ErrorKind::invalid_argument, "{}: context {} has no Endpoints.docker.Host", path, name);
        if (std::filesystem::exists(contexts / "tls" / folder.path().filename() / "docker", ignored))
            fail(ErrorKind::not_implemented, "not implemented: TLS (context {}, {})", name, host);
        return host;
    }
    fail(ErrorKind::not_found, "context \"{}\": context not found in {}", name, (contexts / "meta").string());
}

}  // namespace grua::cli
