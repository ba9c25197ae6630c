#include "build/dockerfile/run_options.hpp"

#include "base/size.hpp"
#include "base/text.hpp"
#include "build/dockerfile/flags.hpp"
#include "build/dockerfile/source.hpp"
#include "build/dockerfile/suggestion.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace grua::build::dockerfile {
namespace {

constexpr std::array<std::string_view, 5> mount_types{"bind", "cache", "tmpfs", "secret", "ssh"};
constexpr std::array<std::string_view, 3> sharing_modes{"shared", "private", "locked"};
constexpr auto mount_keys =
    std::to_array<std::string_view>({"type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid",
                                     "gid", "src", "dst", "destination", "ro", "rw", "readwrite", "env"});

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

struct Field {
    std::string_view whole;
    std::string key;
    std::string_view value;
    bool has_value = false;
};

Field take_apart(std::string_view field) {
    const std::size_t sign = field.find('=');
    Field out{.whole = field, .key = to_lower(field.substr(0, sign)), .has_value = sign != std::string_view::npos};
    if (out.has_value) out.value = field.substr(sign + 1);
    return out;
}

std::vector<std::string> fields_of(std::string_view flag, std::string_view what) {
    try {
        return detail::csv_fields(flag);
    } catch (const Error& error) {
        refuse("failed to parse csv {}: {}", what, error.what());
    }
}

bool truth(std::string_view key, std::string_view value) {
    const Truth truth = parse_truth(value);
    if (truth == Truth::unknown) refuse("invalid value for {}: {}", key, shortened(value));
    return truth == Truth::yes;
}

std::uint32_t number(std::string_view key, std::string_view value, int base) {
    std::uint32_t out = 0;
    const auto [end, error] = std::from_chars(value.begin(), value.end(), out, base);
    if (value.empty() || error != std::errc{} || end != value.end()) refuse("invalid value {} for {}", shortened(value), key);
    return out;
}

/// The fields of one --mount, one after the other.
class MountReader {
public:
    void take(const Field& field, std::string_view value) {
        const std::string& key = field.key;
        if (key == "type") {
            mount_.type = static_cast<MountType>(choice(value, mount_types, "mount type"));
        } else if (key == "from") {
            mount_.from = value;
        } else if (key == "source" || key == "src") {
            mount_.source = value;
        } else if (key == "target" || key == "dst" || key == "destination") {
            mount_.target = value;
        } else if (key == "id") {
            mount_.id = value;
        } else if (key == "sharing") {
            mount_.sharing = static_cast<Sharing>(choice(value, sharing_modes, "sharing value"));
        } else if (key == "mode") {
            mount_.mode = number(key, value, 8);
        } else if (key == "uid") {
            mount_.uid = number(key, value, 10);
        } else if (key == "gid") {
            mount_.gid = number(key, value, 10);
        } else if (key == "env") {
            mount_.env = value;
        } else {
            take_option(field, value);
        }
    }

    void take_alone(const Field& field) {
        const std::string& key = field.key;
        if (key == "readonly" || key == "ro") return set_read_only(true);
        if (key == "readwrite" || key == "rw") return set_read_only(false);
        if (key != "required") refuse("invalid field '{}' must be a key=value pair", shortened(field.whole));
        only_for(key, is_secret());
        mount_.required = true;
    }

    Mount finish() {
        check_owner();
        if (!access_given_) mount_.read_only = mount_.type != MountType::cache && mount_.type != MountType::tmpfs;
        if (mount_.type == MountType::secret) check_secret();
        if (mount_.sharing && mount_.type != MountType::cache) refuse("invalid cache sharing set for {} mount", name_of(mount_.type));
        return std::move(mount_);
    }

private:
    void take_option(const Field& field, std::string_view value) {
        const std::string& key = field.key;
        if (key == "readonly" || key == "ro") {
            set_read_only(truth(key, value));
        } else if (key == "readwrite" || key == "rw") {
            set_read_only(!truth(key, value));
        } else if (key == "required") {
            only_for(key, is_secret());
            mount_.required = truth(key, value);
        } else if (key == "size") {
            only_for(key, mount_.type == MountType::tmpfs);
            const auto size = parse_size(value, SizeUnit::of_1024);
            if (!size) refuse("invalid value for {}: {}", key, shortened(value));
            mount_.size_limit = *size;
        } else {
            refuse("unexpected key '{}' in '{}'{}", shortened(key), shortened(field.whole), did_you_mean(key, mount_keys));
        }
    }

    template <std::size_t N>
    std::size_t choice(std::string_view value, const std::array<std::string_view, N>& choices, std::string_view what) {
        const auto found = std::ranges::find(choices, to_lower(value));
        if (found == choices.end()) refuse("unsupported {} {}{}", what, in_quotes(value), did_you_mean(value, choices));
        return static_cast<std::size_t>(found - choices.begin());
    }

    void set_read_only(bool read_only) {
        mount_.read_only = read_only;
        access_given_ = true;
    }

    bool is_secret() const { return mount_.type == MountType::secret || mount_.type == MountType::ssh; }

    void only_for(std::string_view key, bool allowed) const {
        if (!allowed) refuse("unexpected key '{}' for mount type '{}'", key, name_of(mount_.type));
    }

    void check_owner() const {
        if (is_secret() || mount_.type == MountType::cache) return;
        const std::string_view key = mount_.mode ? "mode" : mount_.uid ? "uid" : mount_.gid ? "gid" : "";
        if (!key.empty()) refuse("{} not allowed for \"{}\" type mounts", key, name_of(mount_.type));
    }

    void check_secret() const {
        if (!mount_.from.empty()) refuse("secret mount should not have a from");
        if (mount_.sharing) refuse("secret mount should not define sharing");
        if (mount_.source.empty() && mount_.target.empty() && mount_.id.empty()) {
            refuse("invalid secret mount. one of source, target required");
        }
        if (!mount_.source.empty() && !mount_.id.empty()) refuse("both source and id can't be set");
    }

    Mount mount_;
    bool access_given_ = false;
};

}  // namespace

std::string_view name_of(MountType type) noexcept { return mount_types[static_cast<std::size_t>(type)]; }

std::string mount_source_stage(std::string_view flag) {
    std::string out;
    for (const std::string& text : fields_of(flag, "mounts")) {
        const Field field = take_apart(text);
        if (!field.has_value || field.key != "from") continue;
        const std::size_t dollar = field.value.find('$');
        if (dollar != std::string_view::npos && dollar + 1 != field.value.size()) {
            refuse("'{}' doesn't support variable expansion, define alias stage instead", field.key);
        }
        out = field.value;
    }
    return out;
}

Mount parse_mount(std::string_view flag, const ExpandWord& expand) {
    MountReader reader;
    for (const std::string& text : fields_of(flag, "mounts")) {
        const Field field = take_apart(text);
        if (field.has_value) {
            reader.take(field, expand(field.value));
        } else {
            reader.take_alone(field);
        }
    }
    return reader.finish();
}

Device parse_device(std::string_view flag) {
    Device out;
    for (const std::string& text : fields_of(flag, "devices")) {
        const Field field = take_apart(text);
        if (!field.has_value && field.key == "required") {
            out.required = true;
        } else if (field.has_value && field.key == "required") {
            out.required = truth(field.key, field.value);
        } else if (field.has_value && field.key == "name") {
            if (!out.name.empty()) refuse("device name already set to {}", shortened(out.name));
            out.name = field.value;
        } else if (out.name.empty()) {
            out.name = text;
        } else if (!field.has_value) {
            refuse("invalid field '{}' must be a key=value pair", shortened(text));
        } else {
            static constexpr std::array<std::string_view, 2> keys{"name", "required"};
            refuse("unexpected key '{}' in '{}'{}", shortened(field.key), shortened(text), did_you_mean(field.key, keys));
        }
    }
    return out;
}

RunNetwork parse_run_network(std::string_view flag) {
    if (flag == "default") return RunNetwork::standard;
    if (flag == "none") return RunNetwork::none;
    if (flag == "host") return RunNetwork::host;
    refuse("invalid network mode {}", in_quotes(flag));
}

RunSecurity parse_run_security(std::string_view flag) {
    if (flag == "sandbox") return RunSecurity::sandbox;
    if (flag == "insecure") return RunSecurity::insecure;
    refuse("security {} is not valid", in_quotes(flag));
}

}  // namespace grua::build::dockerfile
