#include "build/front_end_request.hpp"

#include "build/dockerfile/answers.hpp"
#include "build/failure.hpp"

#include <map>
#include <set>
#include <utility>
#include <variant>

namespace grua::build {
namespace {

using dockerfile::Answer;
using dockerfile::BaseImage;

/// Images as far as they have been looked at. Who asks is begun again until all are known that it wants.
class BaseImages {
public:
    std::optional<BaseImage> find(const std::string& name, const oci::Platform& platform) {
        const auto found = known_.find({name, platform.text()});
        if (found == known_.end()) {
            wanted_.emplace(std::pair(name, platform.text()), platform);
            return std::nullopt;
        }
        if (const Error* error = std::get_if<Error>(&found->second)) throw Error(*error);
        return std::get<BaseImage>(found->second);
    }

    bool has_all() const noexcept { return wanted_.empty(); }

    asio::awaitable<void> look_at_wanted(const FrontEndRequest& request) {
        const std::map<Key, oci::Platform> wanted = std::exchange(wanted_, {});
        for (const auto& [key, platform] : wanted) {
            std::optional<std::variant<BaseImage, Error>> found;
            try {
                found = co_await request.base_image(key.first, platform);
            } catch (const Error& error) {
                found = error;
            }
            known_.insert_or_assign(key, std::move(*found));
        }
    }

private:
    using Key = std::pair<std::string, std::string>;  // Name and platform.
    std::map<Key, std::variant<BaseImage, Error>> known_;
    std::map<Key, oci::Platform> wanted_;
};

Answer answer_of(dockerfile::Request what, const FrontEndRequest& request, BaseImages& images) {
    const auto base_image = [&](const std::string& name, const oci::Platform& platform) { return images.find(name, platform); };
    switch (what) {
        case dockerfile::Request::lint:
            return lint_answer(
                dockerfile::lint(request.file.data(),
                                 {.build = request.inputs, .base_image = base_image, .ignore = request.ignore, .config = request.check}),
                request.file);
        case dockerfile::Request::outline:
            return outline_answer(
                dockerfile::make_outline(request.file.data(),
                                         {.build = request.inputs, .base_image = base_image, .is_replaced = request.is_replaced}),
                request.file.data());
        case dockerfile::Request::targets:
            return targets_answer(dockerfile::list_targets(request.file.data()), request.file.data());
        case dockerfile::Request::describe:
            break;
    }
    return dockerfile::describe_answer();
}

/// No place in the file is told, as BuildKit tells none here.
Answer answer(dockerfile::Request what, const FrontEndRequest& request, BaseImages& images) {
    try {
        return answer_of(what, request, images);
    } catch (const Error& error) {
        throw failure_at(error.what(), {});
    }
}

wire::bridge::Result as_result(const Answer& answer) {
    wire::bridge::Result out;
    auto& metadata = *out.mutable_metadata();
    metadata["result.json"] = answer.json;
    metadata["result.txt"] = answer.text;
    metadata["version"] = answer.version;
    if (answer.status) metadata["result.statuscode"] = fmt::format("{}", *answer.status);
    return out;
}

}  // namespace

asio::awaitable<wire::bridge::Result> run_request(FrontEndRequest request) {
    const auto what = dockerfile::parse_request(request.id);
    if (!what) throw failure_of_request(request.id);
    BaseImages images;
    for (;;) {
        const Answer found = answer(*what, request, images);
        if (images.has_all()) co_return as_result(found);
        co_await images.look_at_wanted(request);
    }
}

}  // namespace grua::build
