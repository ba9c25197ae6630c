// The commands' functions, as commands.cpp's table names them. Each gives back the exit status.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace grua::cli {

int run_container(Context& context, const Parsed& given);
int create_container(Context& context, const Parsed& given);
int start_containers(Context& context, const Parsed& given);
int attach_container(Context& context, const Parsed& given);
int exec_command(Context& context, const Parsed& given);

int stop_containers(Context& context, const Parsed& given);
int restart_containers(Context& context, const Parsed& given);
int kill_containers(Context& context, const Parsed& given);
int pause_containers(Context& context, const Parsed& given);
int unpause_containers(Context& context, const Parsed& given);
int rename_container(Context& context, const Parsed& given);
int remove_containers(Context& context, const Parsed& given);
int wait_containers(Context& context, const Parsed& given);
int update_containers(Context& context, const Parsed& given);
int top_container(Context& context, const Parsed& given);
int list_containers(Context& context, const Parsed& given);
int container_logs(Context& context, const Parsed& given);
int container_stats(Context& context, const Parsed& given);
int prune_containers(Context& context, const Parsed& given);

int copy_files(Context& context, const Parsed& given);
int container_changes(Context& context, const Parsed& given);
int export_container(Context& context, const Parsed& given);
int commit_container(Context& context, const Parsed& given);

int inspect_objects(Context& context, const Parsed& given);
int inspect_containers(Context& context, const Parsed& given);
int inspect_images(Context& context, const Parsed& given);
int inspect_volumes(Context& context, const Parsed& given);
int inspect_networks(Context& context, const Parsed& given);

int list_images(Context& context, const Parsed& given);
int tag_image(Context& context, const Parsed& given);
int remove_images(Context& context, const Parsed& given);
int image_history(Context& context, const Parsed& given);
int load_images(Context& context, const Parsed& given);
int import_image(Context& context, const Parsed& given);
int pull_image(Context& context, const Parsed& given);
int push_image(Context& context, const Parsed& given);
int save_images(Context& context, const Parsed& given);
int search_images(Context& context, const Parsed& given);
int log_in(Context& context, const Parsed& given);
int log_out(Context& context, const Parsed& given);
int prune_images(Context& context, const Parsed& given);

int build_image(Context& context, const Parsed& given);
int show_build_cache(Context& context, const Parsed& given);
int prune_build_cache(Context& context, const Parsed& given);

int create_context(Context& context, const Parsed& given);
int list_contexts(Context& context, const Parsed& given);
int inspect_contexts(Context& context, const Parsed& given);
int use_context(Context& context, const Parsed& given);
int show_context(Context& context, const Parsed& given);
int remove_contexts(Context& context, const Parsed& given);
int update_context(Context& context, const Parsed& given);
int export_context(Context& context, const Parsed& given);
int import_context(Context& context, const Parsed& given);
int dial_stdio(Context& context, const Parsed& given);

int show_info(Context& context, const Parsed& given);
int show_version(Context& context, const Parsed& given);
int show_events(Context& context, const Parsed& given);
int disk_usage(Context& context, const Parsed& given);
int prune_system(Context& context, const Parsed& given);
int collect_garbage(Context& context, const Parsed& given);
int check_store(Context& context, const Parsed& given);

int list_volumes(Context& context, const Parsed& given);
int create_volume(Context& context, const Parsed& given);
int remove_volumes(Context& context, const Parsed& given);
int prune_volumes(Context& context, const Parsed& given);
int list_networks(Context& context, const Parsed& given);
int create_network(Context& context, const Parsed& given);
int update_network(Context& context, const Parsed& given);
int reach_network(Context& context, const Parsed& given);
int remove_networks(Context& context, const Parsed& given);
int connect_network(Context& context, const Parsed& given);
int disconnect_network(Context& context, const Parsed& given);
int prune_networks(Context& context, const Parsed& given);
int show_ports(Context& context, const Parsed& given);

int print_completion(Context& context, const Parsed& given);
int print_completion_words(Context& context, const Parsed& given);
int generate_files(Context& context, const Parsed& given);

/// `/containers/NAME` and what follows, escaped.
std::string container_path(const std::string& name, std::string_view rest);
/// `/images/REFERENCE…`: slashes stay.
std::string image_path(const std::string& reference, std::string_view rest);

/// Shows a stream of {"status", "progressDetail", "stream", "errorDetail"} messages on the descriptor `out`; see progress.hpp. `aux` gets
/// what they carry beside. Throws for an error in it.
enum class Progress { shown, quiet };
void show_progress(client::Stream& stream, int out, Progress progress, const std::function<void(const Value&)>& aux = {});

/// POSTs /images/create with the registry's credentials; without a tag or digest it is latest. Throws for a name that is none.
void pull(client::Client& daemon, const std::string& image, const std::string& platform, Progress progress, int out);
/// "debian:latest" as docker shows it; nothing for an image ID. Throws for a name that is none.
std::optional<std::string> pullable_name(const std::string& image);

/// --platform, or $DOCKER_DEFAULT_PLATFORM.
std::string default_platform(const Flags& flags);
/// Normalised, "linux/arm64"; empty where it is empty. Both throw Error(invalid_argument).
std::string platform_text(const std::string& platform);
std::string platform_json(const std::string& platform);
/// Each --platform as JSON. Throws where the daemon's API is too old for it.
void add_platforms(client::Query& query, client::Client& daemon, const Flags& flags, const char* member);
/// Throws Error(not_implemented) with docker's text.
void require_api(client::Client& daemon, int minor, const char* what);

/// Rows of the lists, as templates see them.
Value image_row(const Value& image, const std::string& repository, const std::string& tag, const std::string& digest, bool truncate);
Value container_row(const Value& container, bool truncate);
Value volume_row(const Value& volume);

/// `images --tree` of what /images/json?manifests=1 answers; `columns` is 0 where there is no limit.
std::string image_tree(const Value& summaries, std::size_t columns, bool paint);

/// "name:tag" and a digest taken apart: {"debian", "12"}; the tag is "latest" where there is none.
std::pair<std::string, std::string> split_reference(const std::string& reference);

}  // namespace grua::cli
