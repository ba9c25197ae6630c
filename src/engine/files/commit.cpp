// What a container changed, as a list and as an image.
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/pipe.hpp"
#include "engine/engine_impl.hpp"
#include "images/image_store.hpp"
#include "layers/diff.hpp"

#include <unistd.h>
#include <algorithm>

namespace grua::engine {
namespace {

/// What every container has to be mounted on; Docker has these in a layer of their own below the container's.
const layers::MountPoints mount_points{"/dev",        "/dev/pts", "/dev/shm",      "/dev/console",  "/dev/mqueue", "/proc",
                                       "/sys",        "/etc",     "/etc/hosts",    "/etc/hostname", "/etc/mtab",   "/etc/resolv.conf",
                                       "/.dockerenv", "/sys/fs",  "/sys/fs/cgroup"};

struct Sides {
    layers::LayerStore::Hold held;  // first: the others go before it
    Fd upper;
    Fd lower;
    layers::Diff diff() const { return {.upper = upper.get(), .lower = lower.get(), .mount_points = mount_points}; }
};

Sides sides_of(layers::LayerStore& store, const std::string& id) {
    auto held = store.hold_container(id);
    return {std::move(held), store.open_upper(id), store.mount_lower(id)};
}

oci::ImageRunConfig image_config_of(const ContainerConfig& config) {
    oci::ImageRunConfig out;
    out.user = config.user;
    out.exposed_ports = config.exposed_ports;
    out.env = config.env;
    out.entrypoint = config.entrypoint;
    out.cmd = config.cmd;
    out.volumes = config.volumes;
    out.working_dir = config.working_dir;
    out.labels = config.labels;
    out.stop_signal = config.stop_signal;
    out.stop_timeout = config.stop_timeout;
    if (config.healthcheck) {
        oci::HealthConfig& health = out.healthcheck.emplace();
        health.test = config.healthcheck->test;
        health.interval = config.healthcheck->interval;
        health.timeout = config.healthcheck->timeout;
        health.start_period = config.healthcheck->start_period;
        health.start_interval = config.healthcheck->start_interval;
        health.retries = config.healthcheck->retries;
    }
    out.on_build = config.on_build;
    out.shell = config.shell;
    out.args_escaped = config.args_escaped;
    return out;
}

/// Packed while the image room reads.
std::string commit_layer(images::ImageStore& store, images::CommitRequest request, const Sides& sides) {
    const auto pack = [&](int out) {
        layers::FdSink sink{out};
        layers::pack_changes(sides.diff(), sink);
    };
    return through_pipe(pack, [&](int in, const std::function<void()>& whole) {
        request.layer = in;
        request.whole = whole;
        return store.commit(request);
    });
}

}  // namespace

asio::awaitable<std::vector<FileChange>> Engine::Impl::changes(std::string reference) {
    const auto container = get_container(reference);
    const auto out = std::make_shared<std::vector<FileChange>>();
    co_await in_own_thread([this, out, id = container->id()] {
        const Sides sides = sides_of(rooms.layers, id);
        layers::visit_changes(sides.diff(), [&](const layers::Change& each) { out->push_back({each.path, static_cast<int>(each.kind)}); });
    });
    co_return std::move(*out);
}

/// Paused while it is read: what is written meanwhile would be in the image in part.
asio::awaitable<std::string> Engine::Impl::commit_paused(RecordPtr record, images::CommitRequest request, bool pause_it) {
    bool paused = false;
    const std::string mark = live_directory(record->id) + pause_mark;
    if (pause_it && record->state.status == Status::running) {
        try {
            co_await offload(pool, [mark] {
                replace_file(mark, "");
                return true;
            });
            co_await pause(record->id);
            paused = true;
        } catch (const Error& error) {
            // It has ended, or cannot be paused.
            log::debug("commit of {}: not paused: {}", record->id, error.what());
        }
    }
    std::string id;
    std::exception_ptr failure;
    try {
        co_await in_own_thread([this, &id, request, container_id = record->id] {
            id = commit_layer(rooms.images, request, sides_of(rooms.layers, container_id));
        });
    } catch (...) {
        failure = std::current_exception();
    }
    if (paused) {
        try {
            co_await unpause(record->id);
        } catch (const std::exception& error) {
            log::warn("commit of {}: it is not running again: {}", record->id, error.what());
        }
    }
    ::unlink(mark.c_str());
    if (failure) std::rethrow_exception(failure);
    co_return id;
}

asio::awaitable<std::string> Engine::Impl::commit(std::string reference, CommitOptions asked) {
    const auto container = get_container(reference);
    const RecordPtr record = container->record;
    if (record->state.status == Status::dead) fail(ErrorKind::conflict, "You cannot commit container {} which is Dead", record->id);
    if (record->state.status == Status::removing)
        fail(ErrorKind::conflict, "You cannot commit container {} which is being removed", record->id);

    images::CommitRequest request;
    request.parent = record->image_id;
    ContainerConfig config = asked.config.value_or(record->config);
    if (asked.config) {
        merge_image(config, image_config_of(record->config));
        // In Docker's order: what was asked for, then the container's that is not in it.
        config.env = merge_env(asked.config->env, {});
        const auto name_of = [](const std::string& text) { return text.substr(0, text.find('=')); };
        for (const std::string& each : record->config.env)
            if (std::ranges::find(config.env, name_of(each), name_of) == config.env.end()) config.env.push_back(each);
    }
    request.config = image_config_of(config);
    images::apply_changes(request.config, asked.changes);
    request.created_by = join(record->config.cmd.value_or(StringList{}), " ");
    const images::ImagePtr image = rooms.images.find(record->image_id);
    request.author = asked.author.empty() && image ? image->config.author : asked.author;
    request.comment = asked.comment;
    request.reference = asked.reference;
    const auto lease = rooms.images.hold(record->image_id);

    const std::string id = co_await to_its_end(loop, commit_paused(record, std::move(request), asked.pause));
    const images::ImagePtr made = rooms.images.find(id);
    StringMap attributes = made ? made->config.config.labels : StringMap{};
    attributes["name"] = id;
    events.publish({.type = "image", .action = "create", .id = id, .attributes = attributes});
    if (!asked.reference.empty()) {
        attributes["name"] = oci::Reference::parse(asked.reference).with_default_tag().familiar();
        events.publish({.type = "image", .action = "tag", .id = id, .attributes = std::move(attributes)});
    }
    emit(*container->record, "commit", {{"comment", asked.comment}, {"imageID", id}, {"imageRef", asked.reference}});
    co_return id;
}

}  // namespace grua::engine
