// gruad: parse the command line, build the objects, run the loop.
#include "api/server.hpp"
#include "base/async.hpp"
#include "base/log.hpp"
#include "base/loop_watch.hpp"
#include "base/mapped_pages.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "base/transfers.hpp"
#include "build/service.hpp"
#include "content/content_store.hpp"
#include "engine/engine.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "listeners.hpp"
#include "network/networks.hpp"
#include "options.hpp"
#include "rebuild.hpp"
#include "registry/client.hpp"
#include "roots.hpp"
#include "store/database.hpp"
#include "systemd.hpp"
#include "volumes/volumes.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>

namespace {

using namespace grua;
using namespace std::chrono_literals;

/// What may block side by side; starts of containers are the most of it.
constexpr unsigned pool_threads = 8;

/// For transfers to end after they are told to; their clients are gone by then.
constexpr auto transfers_patience = 5s;

void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) < 0) log::warn("RLIMIT_NOFILE stays low: {}", std::generic_category().message(errno));
}

engine::Options engine_options(const gruad::Options& options) {
    engine::Options out;
    out.data_root = options.data_root;
    out.exec_root = options.exec_root;
    out.cgroup_parent = options.cgroup_parent.starts_with('/') ? options.cgroup_parent : "/" + options.cgroup_parent;
    out.init_path = options.init_path;
    out.init = options.init;
    out.no_new_privileges = options.no_new_privileges;
    out.dns = options.dns;
    out.dns_search = options.dns_search;
    out.dns_options = options.dns_options;
    out.default_shm_size = gruad::parse_size(options.default_shm_size);
    out.shutdown_timeout = static_cast<int>(options.shutdown_timeout);
    out.cgroupns_mode = options.default_cgroupns_mode;
    out.ipc_mode = options.default_ipc_mode;
    out.default_stop_timeout = options.default_stop_timeout;
    out.live_restore = options.live_restore;
    out.default_bridge = options.bridge != "none";
    out.host_gateways = options.host_gateways;
    out.log_driver = options.log_driver;
    if (out.log_driver != "json-file") out.log_options.clear();
    for (const auto& [name, value] : gruad::log_options_of(options)) out.log_options.insert_or_assign(name, value);
    out.gc = options.gc;
    return out;
}

network::Options network_options(const gruad::Options& options) {
    network::Options out;
    out.default_bridge = options.bridge != "none";
    out.bridge = gruad::bridge_name(options);
    out.bip = options.bip;
    out.fixed_cidr = options.fixed_cidr;
    out.default_gateway = options.default_gateway;
    out.ipv6 = options.ipv6;
    out.bip6 = options.bip6;
    out.fixed_cidr6 = options.fixed_cidr6;
    out.default_gateway6 = options.default_gateway6;
    for (const std::string& each : options.default_network_options) {
        const auto driver = each.find('=');
        const auto value = driver == std::string::npos ? driver : each.find('=', driver + 1);
        if (value == std::string::npos)
            fail(ErrorKind::invalid_argument, "--default-network-opt {}: DRIVER=OPTION=VALUE is expected", each);
        out.network_options[each.substr(0, driver)][each.substr(driver + 1, value - driver - 1)] = each.substr(value + 1);
    }
    out.mtu = static_cast<unsigned>(options.mtu);
    out.ip_forward = options.ip_forward;
    out.ip_masq = options.ip_masq;
    out.icc = options.icc;
    if (!options.ip.empty()) {
        out.port_address = linux::Ip::parse(options.ip);
        if (!out.port_address) fail(ErrorKind::invalid_argument, "--ip {}: no address", options.ip);
    }
    if (!options.publish_policy.empty()) {
        const auto policy = network::parse_publish_policy(options.publish_policy);
        if (!policy) fail(ErrorKind::invalid_argument, "--publish-policy {}: docker or host-input", options.publish_policy);
        out.publish_policy = *policy;
    }
    if (!options.host_dns.empty()) out.host_dns = network::parse_host_dns(options.host_dns);
    for (const std::string& each : options.default_address_pools) out.pools.push_back(network::parse_default_pool(each));
    return out;
}

registry::Options registry_options(const gruad::Options& options) {
    registry::Options out;
    // Beside daemon.json, wherever that is.
    out.config_directory = std::filesystem::absolute(options.config_file).parent_path();
    out.insecure_registries = options.insecure_registries;
    out.mirrors = options.registry_mirrors;
    out.http_proxy = options.http_proxy;
    out.https_proxy = options.https_proxy;
    out.no_proxy = options.no_proxy;
    return out;
}

void apply(const gruad::Options& options, api::Settings& settings) {
    settings.debug = options.debug || options.log_level == "debug";
    settings.labels = options.labels;
    settings.oldest_version = gruad::parse_oldest_version(options.min_api_version);
    settings.insecure_registries = options.insecure_registries;
    settings.registry_mirrors = options.registry_mirrors;
    settings.address_pools.clear();
    for (const std::string& each : options.default_address_pools) {
        const auto pool = network::parse_default_pool(each);
        settings.address_pools.emplace_back(pool.base.text(), pool.size);
    }
}

/// What SIGHUP changes.
struct Reloadable {
    std::vector<std::string> arguments;
    api::Settings& settings;
    registry::Client& registry;
    registry::SignaturePolicy& signatures;
    engine::Engine& engine;
    api::Server& server;
    build::BuildService& builds;
};

/// Debug, labels, certificates, the rules for registries, signatures and collection, as the files have them now.
void reload(const Reloadable& what) {
    try {
        const gruad::Options options = gruad::parse_options(what.arguments);
        const std::optional<tls::Context> tls = gruad::tls_context(options);
        what.registry.reload(registry_options(options));
        what.signatures.reload();
        apply(options, what.settings);
        what.engine.set_gc_policy(options.gc);
        log::configure(what.settings.debug ? log::Level::debug : gruad::parse_level(options.log_level),
                       options.log_format == "json" ? log::Format::json : log::Format::text);
        if (tls) {
            what.server.use(*tls);
            gruad::warn_of_dates(options);
        }
        log::info("configuration is read again");
    } catch (const Error& error) {
        log::error("configuration is not read again: {}", error.what());
    }
}

/// Before the first thread. By itself glibc makes eight heaps for each processor, and what is free at the end of one stays: malloc_trim()
/// leaves it, and the bound of what may stay grows with the largest block that was ever freed. After builds that was 35 MB of which 6 MB
/// were in use.
void keep_heaps_small() {
    ::mallopt(M_ARENA_MAX, 4);
    ::mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    ::mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
}

/// How the end goes.
struct Ending {
    std::chrono::seconds patience;
    bool live_restore;
};

/// How much is still under way at the end: clients' calls, and what the engine does by itself.
asio::awaitable<std::size_t> serve(LoopWatch& watch, std::vector<api::Listening>& listeners, std::optional<tls::Context> tls,
                                   Reloadable what, const gruad::Systemd& systemd, Ending ending) {
    co_await what.engine.recover();
    watch.begin();
    for (api::Listening& each : listeners) what.server.accept_from(std::move(each.socket), each.name, each.tcp ? tls : std::nullopt);
    log::info("gruad {} serves the Engine API", GRUA_VERSION);
    systemd.notify("READY=1");
    // What was read and run for the start alone.
    ::malloc_trim(0);
    let_go_of_mapped_pages();
    asio::signal_set signals{co_await asio::this_coro::executor, SIGTERM, SIGINT, SIGHUP};
    while (co_await signals.async_wait(asio::use_awaitable) == SIGHUP) {
        systemd.notify_reloading();
        // In this thread, though it reads a few files: settings and policies are the loop's.
        reload(what);
        systemd.notify("READY=1");
    }
    systemd.notify("STOPPING=1");
    log::info("ending; containers {}", ending.live_restore ? "go on running" : "are stopped");
    if (!ending.live_restore) co_await what.engine.stop_containers(ending.patience);
    const std::size_t left = co_await what.server.stop(ending.patience);
    // First: what they run is the engine's.
    co_await what.builds.shutdown();
    co_return left + co_await what.engine.shutdown();
}

int run(const std::vector<std::string>& arguments) {
    gruad::Systemd systemd = gruad::Systemd::from_environment();
    const gruad::Options options = gruad::parse_options(arguments);
    if (options.help) {
        std::fputs(gruad::help_text().c_str(), stdout);
        return 0;
    }
    if (options.version) {
        std::puts("gruad version " GRUA_VERSION);
        return 0;
    }
    const std::vector<api::Address> addresses = gruad::addresses_of(options);
    const std::optional<tls::Context> tls = gruad::tls_context(options);
    const network::Options of_networks = network_options(options);
    if (options.validate) {
        std::puts("configuration OK");
        return 0;
    }
    api::Settings settings;
    apply(options, settings);
    log::configure(settings.debug ? log::Level::debug : gruad::parse_level(options.log_level),
                   options.log_format == "json" ? log::Format::json : log::Format::text);
    for (const std::string& note : options.notes) log::info("{}", note);
    if (::geteuid() != 0) fail(ErrorKind::forbidden, "gruad needs to be started with root privileges");
    std::signal(SIGPIPE, SIG_IGN);
    ::umask(0022);
    raise_descriptor_limit();
    // What is below is not for the users of this host: a container's root may put set-user-ID programs there (CVE-2021-41091).
    gruad::prepare_root(options.data_root, 0710);
    gruad::prepare_root(options.exec_root, 0711);
    const Fd data_lock = gruad::lock_root(options.data_root, "data-root");
    const Fd exec_lock = gruad::lock_root(options.exec_root, "exec-root");
    if (options.rebuild) {
        gruad::rebuild_database(options.data_root, options.exec_root);
        return 0;
    }
    gruad::PidFile pid_file{options.pidfile};
    const gruad::BridgeLock bridge_lock{gruad::bridge_name(options), options.data_root};
    gruad::check_database(options.data_root, options.exec_root);
    settings.id = gruad::engine_id(options.data_root);
    gruad::claim_exec_root(options.exec_root, settings.id);
    std::vector<api::Listening> listeners = gruad::open_listeners(addresses, options, systemd.take_sockets());
    if (tls) gruad::warn_of_dates(options);
    for (const std::string& limit : options.default_ulimits) settings.default_ulimits.push_back(gruad::parse_ulimit(limit));

    store::Database database{options.data_root + "/grua.db"};
    if (database.is_new()) gruad::refuse_new_database(options.data_root, options.exec_root);
    content::ContentStore content{options.data_root + "/content"};
    const auto layer_format = layers::parse_layer_format(options.layer_format);
    if (!layer_format) fail(ErrorKind::invalid_argument, "--layer-format {}: tree or erofs", options.layer_format);
    layers::LayerStore layers{options.data_root + "/layers", database, *layer_format};
    images::ImageStore images{database, content, layers};
    volumes::Volumes volumes{options.data_root + "/volumes"};
    network::Networks networks{of_networks, database};
    registry::Client registry{registry_options(options)};
    registry::SignaturePolicy signatures{registry_options(options).config_directory + "/signatures.toml"};

    database.keep_reserve();

    LoopWatch watch;
    asio::io_context context{1};
    const asio::any_io_executor loop = watch.executor(context);
    asio::thread_pool pool{pool_threads};
    Transfers transfers;
    std::exception_ptr failure;
    std::size_t left = 0;
    {
        engine::Engine engine{loop,
                              pool,
                              engine_options(options),
                              {.database = database,
                               .layers = layers,
                               .images = images,
                               .volumes = volumes,
                               .networks = networks,
                               .registry = registry,
                               .signatures = signatures,
                               .transfers = transfers}};
        build::BuildService builds{loop,
                                   pool,
                                   {.data = options.data_root + "/build", .live = options.exec_root + "/build"},
                                   {.database = database,
                                    .content = content,
                                    .layers = layers,
                                    .images = images,
                                    .registry = registry,
                                    .signatures = signatures,
                                    .transfers = transfers,
                                    .steps = engine.steps(),
                                    .built = engine.built_images()}};
        const api::Backend backend{.engine = engine, .pool = pool, .settings = settings, .transfers = transfers, .builds = builds};
        api::Server server{loop, backend};
        asio::co_spawn(loop,
                       serve(watch, listeners, tls,
                             {.arguments = arguments,
                              .settings = settings,
                              .registry = registry,
                              .signatures = signatures,
                              .engine = engine,
                              .server = server,
                              .builds = builds},
                             systemd, {.patience = std::chrono::seconds{options.shutdown_timeout}, .live_restore = options.live_restore}),
                       [&](std::exception_ptr error, std::size_t calls) {
                           failure = error;
                           left = calls;
                           context.stop();
                       });
        context.run();
        const auto [length, name] = watch.longest();
        log::info("longest turn of the loop: {} ms in {}", std::chrono::floor<std::chrono::milliseconds>(length).count(), name);
        if (const bool ended = transfers.stop(transfers_patience); !ended || left > 0) {
            // A disk that does not answer, or one that is slow. What is in the store needs no goodbye, and nothing may be destroyed under
            // those who still use it.
            log::warn("ending while {} are still under way", ended ? "calls" : "transfers");
            for (api::Listening& each : listeners) each.file.remove();
            pid_file.remove();
            ::_exit(0);
        }
        pool.join();
    }
    if (failure) std::rethrow_exception(failure);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    // Secrets of builds, of registries and of containers' environments are in its memory: no core of it is written, and nobody without
    // CAP_SYS_PTRACE looks into it.
    if (!is_left_out("secrets-in-core")) ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    keep_heaps_small();
    try {
        return run({argv + 1, argv + argc});
    } catch (const Error& error) {
        std::fprintf(stderr, "gruad: %s\n", error.what());
        if (error.kind() == ErrorKind::invalid_argument) std::fputs("See 'gruad --help'.\n", stderr);
        return 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "gruad: %s\n", error.what());
        return 1;
    }
}
