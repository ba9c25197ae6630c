// Images for clients: looked up, moved in and out, named, removed.
//
// What is large is not copied: an Image is the images room's own immutable record, and so are the small values of its answers. What
// moves data - pull, push, load, save, import - is prepared and refused here, and comes back as a Transfer that runs in a thread of
// its own and tells what it does. Images that came in are a reason to collect garbage; the events are made here.
#pragma once

#include "base/async.hpp"
#include "engine/containers.hpp"
#include "engine/input.hpp"
#include "images/image.hpp"
#include "images/values.hpp"
#include "registry/credentials.hpp"

#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::engine {

using images::HistoryLine;
using images::Image;
using images::ImagePtr;
using images::Progress;
using images::PushResult;
using RemovedImage = images::Removed;
using RemoveImageOptions = images::RemoveOptions;
using Variant = images::Variant;
using registry::Credentials;

/// X-Registry-Auth, and the body of POST /auth. Throw Error(invalid_argument).
Credentials credentials_of_header(std::string_view header);
Credentials credentials_of_body(std::string_view json);

/// "x" and "1" are "x:1", "x" and a digest, whatever its algorithm, are "x@sha256:…".
std::string reference_of(std::string_view repository, std::string_view tag);

/// Is told what a transfer does, from the transfer's thread.
class Reporter {
public:
    virtual ~Reporter() = default;
    virtual void bar(const Progress& progress) = 0;                             ///< May be left out where a newer one comes.
    virtual void status(const std::string& id, const std::string& status) = 0;  ///< A line about `id`, which may be empty.
    virtual void text(const std::string& line) = 0;                             ///< A line of plain text.
    virtual void pushed(const std::string& tag, const PushResult& what) = 0;
};

/// Work that lasts as long as its data is large; for a thread of its own (base/transfers.hpp).
using Transfer = std::function<void(Reporter& reporter, const std::stop_token& stop)>;

struct PullRequest {
    std::string name;                       ///< As the user wrote it: "docker.io/library/x" is no short name.
    std::string tag;                        ///< Or digest; empty with a name that has none: all tags.
    std::optional<oci::Platform> platform;  ///< This machine's where empty.
    Credentials credentials;
};

struct PushRequest {
    std::string name;
    std::string tag;  ///< Empty: the name's own, else all tags that are here.
    std::optional<oci::Platform> platform;
    Credentials credentials;
};

struct ImportRequest {
    std::string source = "-";  ///< A URL, else the input.
    std::string reference;     ///< May be empty.
    std::string message;
    StringList changes;  ///< Lines of a Dockerfile.
    std::optional<oci::Platform> platform;
};

struct LoadRequest {
    std::vector<oci::Platform> platforms;  ///< These of an index; where empty, all that the archive has.
    bool quiet = true;                     ///< No bars.
};

struct PrunedImages {
    std::vector<RemovedImage> removed;
    std::uint64_t reclaimed = 0;
};

struct LoginResult {
    std::string status;  ///< "Login Succeeded"
    std::string identity_token;
};

struct FoundImage {
    std::string name;
    std::string description;
    std::int64_t star_count = 0;
    bool is_official = false;
    bool is_automated = false;
};

/// What a registry has at a name.
struct RemoteImage {
    oci::Descriptor descriptor;
    std::vector<oci::Platform> platforms;
};

class ImageService : public Service {
public:
    using Service::Service;

    // Looking costs nothing, but for_platform, history and shared_sizes, which read files on the pool.

    std::vector<ImagePtr> list() const;  ///< The newest first.
    /// By name[:tag], name@digest, ID or unique ID prefix. Throws Error(not_found, "No such image: x:latest").
    ImagePtr get(std::string_view reference) const;
    /// The same, but null; throws invalid_argument for what is no reference.
    ImagePtr find(std::string_view reference) const;
    /// The image as it is for `platform`; throws not_found where that variant is not here.
    asio::awaitable<ImagePtr> get_for(std::string reference, oci::Platform platform) const;
    asio::awaitable<std::vector<HistoryLine>> history(std::string reference, std::optional<oci::Platform> platform) const;
    /// Bytes of layers that each has in common with others of them, by its ID.
    asio::awaitable<std::map<std::string, std::int64_t>> shared_sizes(std::vector<ImagePtr> images) const;
    /// Containers that were made from it.
    std::vector<RecordPtr> users(const Image& image) const;
    /// How many containers there are of each image that has any, by its ID.
    std::map<std::string, std::int64_t> user_counts() const;

    asio::awaitable<void> tag(std::string reference, std::string target) const;
    asio::awaitable<std::vector<RemovedImage>> remove(std::string reference, RemoveImageOptions options) const;
    /// These variants of an index; who names platforms wants the others to stay.
    asio::awaitable<std::vector<RemovedImage>> remove_platforms(std::string reference, std::vector<oci::Platform> platforms) const;
    /// `all`: those with names as well. `keep` is called on the pool.
    asio::awaitable<PrunedImages> prune(bool all, std::function<bool(const Image&)> keep) const;

    // Transfers. They may outlive this and its principal's connection.

    Transfer pull(PullRequest request) const;
    Transfer push(PushRequest request) const;
    Transfer load(LoadRequest request, OpenInput input) const;
    Transfer import(ImportRequest request, OpenInput input) const;
    /// Writes an archive of these to a descriptor.
    std::function<void(int out)> save(std::vector<std::string> names, std::vector<oci::Platform> platforms) const;

    // Asking registries; in a thread of its own, which is told to stop where the caller is cancelled.

    asio::awaitable<LoginResult> login(Credentials credentials) const;
    asio::awaitable<std::vector<FoundImage>> search(std::string term, std::size_t limit, Credentials credentials) const;
    asio::awaitable<RemoteImage> remote(std::string name, Credentials credentials) const;
};

/// For the builder, whose images come into the store past this service: they are told of, and are a reason to collect. Loop only.
class BuiltImages {
public:
    explicit BuiltImages(std::shared_ptr<Inside> inside) : inside_(std::move(inside)) {}
    void came_in(const std::string& id, const std::vector<std::string>& names) const;

private:
    std::shared_ptr<Inside> inside_;
};

}  // namespace grua::engine
