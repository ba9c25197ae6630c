// What `grua build` is told, in the words of docker's: from flags to values, each checked. Pure but for what the environment adds.
#pragma once

#include "cli/flags.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace grua::cli {

std::span<const Flag> build_flags();

using Words = std::map<std::string, std::string>;

struct BuildOutput {
    std::string type;  ///< As the protocol names it: "moby", "oci", "docker", "local", "tar".
    Words attributes;
    std::string destination;  ///< A path; "-" is standard output; empty: none is needed.

    bool is_folder() const;  ///< Of files, or of an image's blobs.
    bool is_file() const { return !destination.empty() && !is_folder(); }
};

struct BuildSecret {
    std::string id;
    std::string path;
    std::string variable;  ///< Of the environment, instead of the file.
};

struct BuildAgent {
    std::string id;
    std::string socket;
    bool is_raw = false;  ///< It may be asked for everything.
};

struct BuildCacheEntry {
    std::string type;
    Words attributes;
};

enum class BuildProgress : std::uint8_t { automatic, plain, tty, rawjson, quiet };

/// What is to be done instead of a build: "lint", "outline", "targets", or another of the front end's.
struct BuildCall {
    std::string name;
    bool is_json = false;
    bool ignores_status = false;
};

struct BuildOptions {
    std::string context;
    std::string file;  ///< Empty: the context's own.
    std::vector<std::string> tags;
    Words arguments;
    Words labels;
    std::string target;
    bool no_cache = false;
    std::vector<std::string> no_cache_stages;
    bool pull = false;
    std::vector<std::string> platforms;  ///< Normalised.
    std::vector<BuildOutput> outputs;
    bool has_output = false;  ///< Some were asked for; none at all is one, too.
    std::vector<BuildSecret> secrets;
    std::vector<BuildAgent> agents;
    std::vector<std::pair<std::string, std::string>> hosts;  ///< Name and address.
    std::string network;
    std::string cgroup_parent;
    std::int64_t shm_size = 0;
    std::vector<std::string> ulimits;  ///< "nofile=1:2"
    Words contexts;
    std::vector<BuildCacheEntry> cache_from;
    std::vector<BuildCacheEntry> cache_to;
    std::vector<std::string> entitlements;
    std::map<std::string, std::optional<std::string>> attestations;  ///< By types; nothing: none of it.
    std::string image_id_file;
    std::string metadata_file;
    BuildProgress progress = BuildProgress::automatic;
    std::optional<BuildCall> call;
    bool says_id = true;  ///< Of the image, where nothing else is shown.
    bool is_reproducible = false;
    bool is_checked = false;         ///< It is built twice, and what differs is told.
    std::optional<std::string> why;  ///< Which steps' misses of the cache are told; all where it is empty.
};

/// Throws UsageError or Error(invalid_argument) with docker's texts, Error(not_implemented) for what we have not.
BuildOptions read_build_options(const Flags& flags, const std::string& context);

namespace detail {
BuildOutput parse_output(const std::string& text);
BuildSecret parse_secret(const std::string& text);
BuildAgent parse_agent(const std::string& text);
std::vector<BuildCacheEntry> parse_caches(const std::vector<std::string>& texts);
/// "annotation-index.key" and the like, by what --annotation says.
Words parse_annotations(const std::vector<std::string>& texts);
BuildCall parse_call(const std::string& text);
}  // namespace detail

}  // namespace grua::cli
