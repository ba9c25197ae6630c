// Garbage collection: stopped containers where the policy says so, then what the image store's plan names, then what rooms above the
// engine have. By a timer, after images came in, and on demand.
#include "base/log.hpp"
#include "engine/also_collected.hpp"
#include "engine/engine_impl.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"

namespace grua::engine {

using images::Decision;
using images::GcMode;
using Verdict = Decision::Verdict;

namespace {

constexpr auto interval = std::chrono::minutes{10};

std::chrono::seconds since(Time time) { return std::chrono::duration_cast<std::chrono::seconds>(std::max(now() - time, Time::duration{})); }

Time ended_at(const ContainerRecord& record) { return record.state.finished_at == Time{} ? record.created : record.state.finished_at; }

bool is_stopped(const ContainerRecord& record) {
    return record.state.status == Status::created || record.state.status == Status::exited || record.state.status == Status::dead;
}

/// Empty where nothing keeps it.
std::string why_kept(const Container& container, const images::GcPolicy& policy) {
    const ContainerRecord& record = *container.record;
    if (container.phase == Phase::foreign) return record.state.error;
    if (!is_stopped(record)) return fmt::format("it is {}", to_string(record.state.status));
    if (images::is_pinned(record.config.labels, policy.pin)) return fmt::format("pinned by its label {}", policy.pin);
    if (!policy.containers) return "the policy removes no containers";
    const auto age = since(ended_at(record));
    if (age < *policy.containers)
        return fmt::format("it ended {} ago, kept for {}", images::rough_time(age), images::rough_time(*policy.containers));
    return {};
}

}  // namespace

/// Removes it where the policy still says so. False where there is nothing to say of it.
asio::awaitable<bool> Engine::Impl::collect_container(ContainerPtr container, images::GcPolicy policy, Decision& decision) {
    std::string kept;
    if (const auto turn = container->lane.try_take(); !turn) {
        kept = "something else is done with it";
    } else if (container->is_gone()) {
        co_return false;
    } else {
        kept = why_kept(*container, policy);
        try {
            if (kept.empty()) co_await remove_held(container, false);
        } catch (const Error& error) {
            kept = fmt::format("it cannot be removed: {}", error.what());
            log::error("collection: container {}: {}", container->id(), error.what());
        }
    }
    if (!kept.empty()) {
        decision.verdict = Verdict::keep;
        decision.reason = std::move(kept);
    }
    co_return true;
}

/// What is decided about containers; in a real run it is done as well.
asio::awaitable<void> Engine::Impl::collect_containers(images::GcPolicy policy, GcMode mode, std::vector<Decision>& decisions,
                                                       images::GcFacts& facts) {
    std::vector<ContainerPtr> all;
    for (const auto& [id, container] : containers) all.push_back(container);
    for (const auto& container : all) {
        const RecordPtr record = container->record;
        Decision decision{.kind = "container", .id = record->id, .name = record->name};
        decision.reason = why_kept(*container, policy);
        if (decision.reason.empty()) {
            decision.verdict = Verdict::remove;
            decision.reason = fmt::format("it ended {} ago", images::rough_time(since(ended_at(*record))));
            auto measure = [this, id = record->id] { return rooms.layers.has_container(id) ? rooms.layers.usage(id) : 0; };
            try {
                decision.size = co_await at_length(std::move(measure));
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::not_found) throw;
            }
            // That it ended is the last use of its image, whether it goes now or not.
            rooms.images.touch(record->image_id, ended_at(*record));
            if (mode == GcMode::real && !co_await collect_container(container, policy, decision)) continue;
            if (decision.verdict == Verdict::remove) {
                facts.freed += decision.size;
                facts.leaving.insert(record->id);
            }
        }
        decisions.push_back(std::move(decision));
    }
}

namespace {

asio::awaitable<Collected> collect_all(Engine::Impl& engine, GcMode mode, Explained explained) {
    const Lane::Turn turn = co_await engine.collecting.take();
    Collected out;
    images::GcFacts facts;
    facts.disk = co_await offload(engine.pool, [root = engine.options.data_root] { return images::disk_of(root); });
    const images::GcPolicy policy = engine.gc_policy;
    co_await engine.collect_containers(policy, mode, out.decisions, facts);
    auto work = [&engine, policy, facts, mode] {
        const auto used_by = [&engine](const std::string& image_id) { return engine.uses_of_image(image_id); };
        return engine.rooms.images.collect(policy, facts, used_by, mode);
    };
    images::ImageStore::Collected collected = co_await offload(engine.pool, std::move(work));
    for (const images::Removed& each : collected.removed) {
        if (each.image_id.empty()) continue;
        const std::string action = each.untagged.empty() ? "delete" : "untag";
        engine.events.publish({.type = "image", .action = action, .id = each.image_id, .attributes = {{"name", each.image_id}}});
    }
    CollectionFacts others{
        .policy = policy, .disk = facts.disk, .freed = facts.freed, .leaving_images = {}, .mode = mode, .explained = explained};
    const auto take = [&](std::vector<Decision> decisions) {
        for (const Decision& each : decisions) {
            if (each.verdict == Verdict::keep) continue;
            others.freed += each.size;
            if (each.kind == "image") others.leaving_images.insert(each.id);
        }
        std::ranges::move(decisions, std::back_inserter(out.decisions));
    };
    take(std::move(collected.decisions));
    for (const auto& room : AlsoCollected::of(engine.loop).all()) take(co_await room->collect(others));
    for (const Decision& each : out.decisions) {
        if (each.verdict == Verdict::keep) {
            ++out.kept;
            continue;
        }
        ++out.removed;
        out.reclaimed += each.size;
        if (mode == GcMode::real) log::info("collection: {} {} {} is removed: {}", each.kind, each.id, each.name, each.reason);
    }
    co_return out;
}

}  // namespace

asio::awaitable<Collected> Engine::Impl::collect(GcMode mode) { return collect_all(*this, mode, Explained::all); }

std::vector<images::ContainerUse> Engine::Impl::uses_of_image(std::string_view image_id) const {
    const MutexLock lock(snapshot_mutex);
    std::vector<images::ContainerUse> out;
    for (const auto& [id, record] : snapshot) {
        if (record->image_id == image_id)
            out.push_back({.container_id = id, .running = is_running(record->state.status), .manifest = record->image_manifest});
        else if (has_mounted(*record, image_id))
            out.push_back({.container_id = id, .running = is_running(record->state.status), .manifest = {}});
    }
    return out;
}

void Engine::Impl::collect_soon() {
    images_changed = true;
    collect_now.notify_all();
}

asio::awaitable<void> Engine::Impl::collect_in_turns() {
    for (const auto& room : AlsoCollected::of(loop).all()) {
        try {
            co_await room->recover();
        } catch (const std::exception& error) {
            log::error("what was left over: {}", error.what());
        }
    }
    auto next = Condition::Clock::now() + interval;
    while (!closing) {
        if (!images_changed) co_await collect_now.wait(next);
        if (closing) break;
        const bool by_timer = Condition::Clock::now() >= next;
        images_changed = false;
        try {
            const images::Disk disk = co_await offload(pool, [root = options.data_root] { return images::disk_of(root); });
            if (gc_policy.enabled && (by_timer || disk.is_above(gc_policy.high)))
                co_await collect_all(*this, GcMode::real, Explained::removals);
        } catch (const std::exception& error) {
            log::error("collection: {}", error.what());
        }
        if (by_timer) next = Condition::Clock::now() + interval;
    }
    collector_ended = true;
    collect_now.notify_all();
}

}  // namespace grua::engine
