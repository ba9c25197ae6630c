#include "registry/client.hpp"
#include "registry/test_server.hpp"

#include "base/error.hpp"
#include "content/hash.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>
#include <random>

namespace grua::registry {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const std::string manifest_text =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:)" +
    std::string(64, 'a') + R"(","size":2},"layers":[]})";

std::string random_bytes(std::size_t size) {
    std::mt19937_64 random{size};
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(random());
    return out;
}

oci::Descriptor descriptor_of(std::string_view bytes) {
    return {"application/octet-stream", content::digest_of(bytes).text(), bytes.size(), {}, {}};
}

/// "bytes=5-9" of a request on a blob.
TestAnswer ranged(const TestRequest& request, const std::string& blob) {
    const std::string range = request.header("range");
    if (range.empty()) return {200, {}, blob, {}, {}};
    const std::size_t dash = range.find('-');
    const std::size_t first = parse_uint(range.substr(6, dash - 6)).value();
    const std::size_t last = dash + 1 == range.size() ? blob.size() - 1 : parse_uint(range.substr(dash + 1)).value();
    return {206, {fmt::format("Content-Range: bytes {}-{}/{}", first, last, blob.size())}, blob.substr(first, last + 1 - first), {}, {}};
}

class ClientTest : public testing::Test {
protected:
    ClientTest() {
        std::string path = fs::temp_directory_path() / "grua-registry-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        options_.config_directory = folder_;
        options_.certs_directory = folder_ + "/certs";
        options_.containerd_directory.clear();
        options_.containers_directory.clear();
        options_.limits.backoff = 1ms;
        options_.limits.low_speed = 1s;
        options_.limits.low_speed_bytes = 100;
    }
    ~ClientTest() override { fs::remove_all(folder_); }

    static oci::Reference name(const TestServer& server, const std::string& rest = "x:1") {
        return oci::Reference::parse(server.authority() + "/" + rest);
    }
    std::string fetch(const TestServer& server, const std::string& blob, std::uint64_t offset = 0) const {
        std::string out;
        Client{options_}.blob(name(server), descriptor_of(blob), offset, [&](std::string_view bytes) { out += bytes; }, {});
        return out;
    }
    template <typename Body>
    static std::string error_of(Body&& body) {
        try {
            body();
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    }
    std::string manifest_error(const TestAnswer& answer, const std::string& rest = "x:1") const {
        const TestServer server{[&](const TestRequest&) { return answer; }};
        return error_of([&] { Client{options_}.manifest(name(server, rest), {}); });
    }

    std::string folder_;
    Options options_;
};

const std::string oci_type = "Content-Type: application/vnd.oci.image.manifest.v1+json";

TEST_F(ClientTest, manifest_by_tag_and_digest) {
    const TestServer server{[&](const TestRequest&) {
        return TestAnswer{200, {oci_type, "RateLimit-Limit: 100;w=21600", "RateLimit-Remaining: 9"}, manifest_text, {}, {}};
    }};
    const Client client{options_};
    const Manifest manifest = client.manifest(name(server), {});
    EXPECT_EQ(manifest.bytes, manifest_text);
    EXPECT_EQ(manifest.descriptor.digest, content::digest_of(manifest_text).text());
    EXPECT_EQ(manifest.descriptor.media_type, oci::media_type::manifest);
    EXPECT_EQ(manifest.host, server.authority());
    EXPECT_EQ(manifest.rate_limit.value().remaining, 9U);
    client.manifest(name(server).with_digest(content::digest_of(manifest_text)), {});
    EXPECT_EQ(server.requests().at(0).target, "/v2/x/manifests/1");
    EXPECT_EQ(server.requests().at(1).target, "/v2/x/manifests/" + content::digest_of(manifest_text).text());
    EXPECT_EQ(server.connections(), 2U);  // one to find out that it speaks no TLS; the other is kept
    EXPECT_NE(
        error_of([&] { client.manifest(name(server).with_digest(content::digest_of("other")), {}); }).find("manifest verification failed"),
        std::string::npos);
}

TEST_F(ClientTest, manifests_that_are_not_what_they_say) {
    const auto has = [&](const std::string& text, const std::string& part) { EXPECT_NE(text.find(part), std::string::npos) << text; };
    has(manifest_error({200, {oci_type, "Docker-Content-Digest: sha256:../../etc"}, manifest_text, {}, {}}), "invalid digest");
    has(manifest_error({200, {oci_type, "Docker-Content-Digest: " + content::digest_of("other").text()}, manifest_text, {}, {}}),
        "manifest verification failed");
    has(manifest_error({200, {"Content-Type: application/vnd.oci.image.index.v1+json"}, manifest_text, {}, {}}),
        "is not the document's mediaType");
    has(manifest_error({200, {oci_type}, R"({"schemaVersion":2,"manifests":[],"Layers":[]})", {}, {}}), "at once");
    has(manifest_error({200, {oci_type}, R"({"schemaVersion":2,"manifests":[]})", {}, {}}), "is not what its media type");
    has(manifest_error({200, {oci_type}, "{", {}, {}}), "not valid JSON");
    has(manifest_error({200, {"Content-Type: text/html"}, "<html>", {}, {}}), "not valid JSON");
    has(manifest_error({200, {"Content-Type: application/vnd.example+json"}, R"({"schemaVersion":2})", {}, {}}), "unsupported media type");
    has(manifest_error({200, {oci_type}, std::string(5U << 20U, ' '), {}, {}}), "larger than");
    has(manifest_error({200, {"Content-Type: application/vnd.docker.distribution.manifest.v1+prettyjws"}, "{}", {}, {}}),
        "schema 1 support has been removed");
    has(manifest_error({200, {}, R"({"schemaVersion":1,"fsLayers":[]})", {}, {}}), "schema 1 support has been removed");
    has(manifest_error({404, {}, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})", {}, {}}),
        "x:1 not found: manifest unknown: manifest unknown");
    has(manifest_error({200, {oci_type, "X: " + std::string(80'000, 'a')}, manifest_text, {}, {}}), "headers");
}

TEST_F(ClientTest, tokens_are_fetched_kept_and_renewed) {
    std::atomic<int> served = 0;
    std::string url;
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.target.starts_with("/token")) {
            EXPECT_EQ(request.header("authorization"), "Basic dTpw");
            EXPECT_EQ(request.target, "/token?service=s&scope=repository%3Ax%3Apull&account=u");
            return {200, {}, fmt::format(R"({{"token":"t{}","expires_in":300}})", ++served), {}, {}};
        }
        if (request.header("authorization") != fmt::format("Bearer t{}", served == 3 ? 99 : static_cast<int>(served))) {
            return {401, {fmt::format(R"(WWW-Authenticate: Bearer realm="{}/token",service="s")", url)}, "", {}, {}};
        }
        return {200, {oci_type}, manifest_text, {}, {}};
    }};
    url = server.url();
    const Client client{options_};
    Access access;
    access.credentials = {"u", "p", "", "", server.authority()};
    client.manifest(name(server), access);
    client.manifest(name(server), access);
    EXPECT_EQ(served, 1);
    served = 2;  // the token of before is no longer good
    EXPECT_NE(error_of([&] { client.manifest(name(server), access); }).find("unauthorized: authentication required"), std::string::npos);
    EXPECT_EQ(served, 3);
}

// G25
TEST_F(ClientTest, a_way_in_that_has_become_wrong_is_not_tried_for_ever) {
    // Each repository has a token service of its own, and so has the registry after it was moved.
    std::string url;
    std::atomic<bool> moved = false;
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        const std::string place = request.target.starts_with("/v2/a/") ? "a" : "b";
        if (request.target.starts_with("/a?") && !moved) return {200, {}, R"({"token":"a"})", {}, {}};
        if (request.target.starts_with("/moved?") && moved) return {200, {}, R"({"token":"moved"})", {}, {}};
        if (request.target.starts_with("/b?")) return {200, {}, R"({"token":"b"})", {}, {}};
        if (!request.target.starts_with("/v2/")) return {503, {}, "", {}, {}};
        const std::string wanted = moved && place == "a" ? "moved" : place;
        if (request.header("authorization") == "Bearer " + wanted) return {200, {oci_type}, manifest_text, {}, {}};
        return {401, {fmt::format(R"(WWW-Authenticate: Bearer realm="{}/{}",service="s")", url, wanted)}, "", {}, {}};
    }};
    url = server.url();
    const Client client{options_};
    const Access access;
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(client.manifest(name(server, "a:1"), access).bytes, manifest_text);
        EXPECT_EQ(client.manifest(name(server, "b:1"), access).bytes, manifest_text);
    }
    const std::size_t before = server.requests().size();
    client.manifest(name(server, "a:1"), access);
    client.manifest(name(server, "b:1"), access);
    EXPECT_EQ(server.requests().size(), before + 2) << "each repository's way is remembered";
    moved = true;
    EXPECT_EQ(client.manifest(name(server, "a:1"), access).bytes, manifest_text);
}

// G25
TEST_F(ClientTest, a_host_that_changes_from_basic_to_bearer_is_understood) {
    std::string url;
    std::atomic<bool> has_tokens = false;
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.target.starts_with("/token")) return {200, {}, R"({"token":"t"})", {}, {}};
        if (request.header("authorization") == (has_tokens ? "Bearer t" : "Basic dTpw")) return {200, {oci_type}, manifest_text, {}, {}};
        const std::string bearer = fmt::format(R"(WWW-Authenticate: Bearer realm="{}/token")", url);
        return {401, {"WWW-Authenticate: Negotiate", has_tokens ? bearer : R"(WWW-Authenticate: Basic realm="r")"}, "", {}, {}};
    }};
    url = server.url();
    const Client client{options_};
    Access access;
    access.credentials = {"u", "p", "", "", server.authority()};
    client.manifest(name(server), access);
    has_tokens = true;
    EXPECT_EQ(client.manifest(name(server), access).bytes, manifest_text);
    has_tokens = false;
    EXPECT_EQ(client.manifest(name(server), access).bytes, manifest_text);
}

/// As gzip, in one block that is not compressed.
std::string gzipped(std::string_view bytes) {
    std::uint32_t crc = ~0U;
    for (const char c : bytes) {
        crc ^= static_cast<unsigned char>(c);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ (0xEDB88320U & (0U - (crc & 1U)));
    }
    const auto size = static_cast<std::uint32_t>(bytes.size());
    std::string out{"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01", 11};
    const auto put = [&](std::uint32_t number, unsigned count) {
        for (unsigned at = 0; at < count; ++at) out += static_cast<char>(number >> (8 * at));
    };
    put(size, 2);
    put(~size, 2);
    out += bytes;
    put(~crc, 4);
    put(size, 4);
    return out;
}

// G28
TEST_F(ClientTest, what_a_host_packs_unasked_is_unpacked) {
    const std::string blob = random_bytes(5000);
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        EXPECT_EQ(request.header("accept-encoding"), "identity");
        const bool is_manifest = request.target.contains("/manifests/");
        return {200, {is_manifest ? oci_type : "X: y", "Content-Encoding: gzip"}, gzipped(is_manifest ? manifest_text : blob), {}, {}};
    }};
    EXPECT_EQ(fetch(server, blob), blob);
    EXPECT_EQ(fetch(server, blob, 100), blob.substr(100));
    EXPECT_EQ(Client{options_}.manifest(name(server), {}).bytes, manifest_text);
}

// G28
TEST_F(ClientTest, a_blob_whose_own_packing_is_called_an_encoding_is_taken_as_it_is) {
    const std::string blob = gzipped(random_bytes(5000));
    const TestServer server{[&](const TestRequest& request) {
        TestAnswer answer = ranged(request, blob);
        answer.headers.emplace_back("Content-Encoding: gzip");
        return answer;
    }};
    EXPECT_EQ(fetch(server, blob), blob);
    EXPECT_EQ(fetch(server, blob, 100), blob.substr(100));
}

TEST_F(ClientTest, credentials_are_for_their_host_only) {
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.header("authorization") == "Basic dTpw") return {200, {oci_type}, manifest_text, {}, {}};
        return {401,
                {R"(WWW-Authenticate: Basic realm="r")"},
                R"({"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]})",
                {},
                {}};
    }};
    const Client client{options_};
    Access access;
    access.credentials = {"u", "p", "", "", "other.example"};
    EXPECT_NE(error_of([&] { client.manifest(name(server), access); }).find("no basic auth credentials"), std::string::npos);
    access.credentials.server_address = "http://" + server.authority() + "/v2/";
    client.manifest(name(server), access);
    access.credentials.password = "wrong";
    EXPECT_NE(error_of([&] { client.manifest(name(server), access); }).find("unauthorized: authentication required"), std::string::npos);
    EXPECT_EQ(client.login({"u", "p", "", "", server.authority()}, {}).status, "Login Succeeded");
    EXPECT_NE(error_of([&] { client.login({"u", "wrong", "", "", server.authority()}, {}); }).find("failed with status: 401 Unauthorized"),
              std::string::npos);
}

TEST_F(ClientTest, a_redirect_leaves_the_credentials_behind) {
    const std::string blob = random_bytes(1000);
    const TestServer store{[&](const TestRequest& request) {
        EXPECT_EQ(request.header("authorization"), "");
        return ranged(request, blob);
    }};
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.header("authorization").empty()) return {401, {R"(WWW-Authenticate: Basic realm="r")"}, "", {}, {}};
        return {307, {"Location: " + store.url() + "/signed?x=1"}, "", {}, {}};
    }};
    Access access;
    access.credentials = {"u", "p", "", "", server.authority()};
    std::string out;
    Client{options_}.blob(name(server), descriptor_of(blob), 10, [&](std::string_view bytes) { out += bytes; }, access);
    EXPECT_EQ(out, blob.substr(10));
}

TEST_F(ClientTest, a_line_that_breaks_is_gone_on_with) {
    const std::string blob = random_bytes(500'000);
    std::atomic<int> cuts = 0;
    const TestServer server{[&](const TestRequest& request) {
        TestAnswer answer = ranged(request, blob);
        if (++cuts <= 20) answer.cut = 20'000 + static_cast<std::size_t>(cuts) * 10;
        return answer;
    }};
    EXPECT_EQ(fetch(server, blob), blob);
    EXPECT_LT(server.bytes_sent(), blob.size() * 105 / 100);
    EXPECT_EQ(fetch(server, blob, 499'999), blob.substr(499'999));
    EXPECT_EQ(fetch(server, blob, 500'000), "");
}

TEST_F(ClientTest, a_host_without_ranges_starts_over) {
    const std::string blob = random_bytes(50'000);
    std::atomic<int> count = 0;
    const TestServer server{[&](const TestRequest&) {
        return TestAnswer{200, {}, blob, ++count == 1 ? std::optional<std::size_t>{20'000} : std::nullopt, {}};
    }};
    EXPECT_EQ(fetch(server, blob), blob);
    EXPECT_EQ(server.bytes_sent(), blob.size() + 20'000);
}

TEST_F(ClientTest, ranges_side_by_side) {
    options_.limits.range_threshold = 100'000;
    options_.limits.range_size = 30'000;
    const std::string blob = random_bytes(1'000'000);
    std::atomic<int> count = 0;
    const TestServer server{[&](const TestRequest& request) {
        TestAnswer answer = ranged(request, blob);
        if (++count % 7 == 0) answer.cut = 1000;
        return answer;
    }};
    EXPECT_EQ(fetch(server, blob), blob);
    EXPECT_GT(server.connections(), 3U);
    EXPECT_EQ(server.bytes_sent(), blob.size());
    EXPECT_EQ(fetch(server, blob, 123'456), blob.substr(123'456));
    const TestServer whole{[&](const TestRequest&) { return TestAnswer{200, {}, blob, {}, {}}; }};
    EXPECT_EQ(fetch(whole, blob, 5), blob.substr(5));
}

TEST_F(ClientTest, blobs_that_are_not_what_was_announced) {
    options_.limits.attempts = 2;
    const std::string blob = random_bytes(1000);
    const auto error = [&](const TestAnswer& answer, std::uint64_t offset = 0) {
        const TestServer server{[&](const TestRequest&) { return answer; }};
        return error_of([&] { fetch(server, blob, offset); });
    };
    EXPECT_NE(error({200, {}, blob + "x", {}, {}}).find("1001 bytes, 1000 were announced"), std::string::npos);
    EXPECT_NE(error({206, {"Content-Range: bytes 0-999/1000"}, blob, {}, {}}, 10).find("asked for bytes 10-999 of 1000"),
              std::string::npos);
    EXPECT_NE(error({206, {"Content-Range: bytes 10-999/1001"}, blob.substr(10), {}, {}}, 10).find("asked for bytes"), std::string::npos);
    EXPECT_NE(error({404, {}, R"({"errors":[{"code":"BLOB_UNKNOWN"}]})", {}, {}}).find("blob unknown"), std::string::npos);
    EXPECT_NE(error({200, {}, blob, 0, {}}).find("unexpected EOF"), std::string::npos);
    EXPECT_NE(error({200, {}, blob, {}, {}, 50ms}).find("less than 100 bytes a second"), std::string::npos);
}

TEST_F(ClientTest, a_stopped_call_ends_at_once) {
    const std::string blob = random_bytes(1000);
    const TestServer server{[&](const TestRequest&) { return TestAnswer{200, {}, blob, {}, {}, 20ms}; }};
    std::stop_source stop;
    Access access;
    access.stop = stop.get_token();
    const std::jthread later{[&] {
        while (server.requests().empty()) std::this_thread::sleep_for(1ms);
        stop.request_stop();
    }};
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_EQ(error_of([&] { Client{options_}.blob(name(server), descriptor_of(blob), 0, [](std::string_view) {}, access); }),
              "context canceled");
    EXPECT_LT(std::chrono::steady_clock::now() - begun, 500ms);
}

TEST_F(ClientTest, busy_hosts_are_asked_again) {
    std::atomic<int> count = 0;
    const TestServer server{[&](const TestRequest&) -> TestAnswer {
        if (++count == 1) return {429, {"Retry-After: 0"}, "", {}, {}};
        if (count < 4) return {503, {}, "", {}, {}};
        return {200, {oci_type}, manifest_text, {}, {}};
    }};
    Client{options_}.manifest(name(server), {});
    EXPECT_EQ(count, 4);
    const std::string error =
        manifest_error({429, {"Retry-After: 100000"}, R"({"errors":[{"code":"TOOMANYREQUESTS","message":"enough"}]})", {}, {}});
    EXPECT_NE(error.find("toomanyrequests: enough"), std::string::npos) << error;
}

TEST_F(ClientTest, mirrors_come_first_and_fail_over) {
    const std::string blob = random_bytes(10'000);
    const TestServer good{[&](const TestRequest& request) {
        return request.target.contains("manifests") ? TestAnswer{200, {oci_type}, manifest_text, {}, {}} : ranged(request, blob);
    }};
    const TestServer half{[&](const TestRequest& request) {
        if (request.target.contains("manifests")) return TestAnswer{404, {}, "", {}, {}};
        TestAnswer answer = ranged(request, blob);
        if (request.header("range").empty()) {
            answer.cut = 4000;
        } else {
            answer = {404, {}, "", {}, {}};
        }
        return answer;
    }};
    std::ofstream{folder_ + "/registries.toml"} << fmt::format(
        "[[registry]]\nprefix = \"docker.io\"\nmirrors-only = true\n[[registry.mirror]]\nlocation = "
        "\"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = "
        "\"{}/a\"\n[[registry.mirror]]\nlocation = \"{}\"\n[aliases]\nshort = \"{}/b\"\n",
        half.authority(), good.authority(), good.authority());
    const Client client{options_};
    const oci::Reference redis = oci::Reference::parse("redis");
    EXPECT_EQ(client.manifest(redis, {}).host, good.authority());
    std::string out;
    const auto hosts = client.blob(redis, descriptor_of(blob), 0, [&](std::string_view bytes) { out += bytes; }, {});
    EXPECT_EQ(out, blob);
    EXPECT_EQ(hosts.size(), 2U);
    EXPECT_EQ(half.bytes_sent() + good.bytes_sent(), blob.size() + manifest_text.size());
    EXPECT_EQ(half.requests().at(0).target, "/v2/a/library/redis/manifests/latest");
    EXPECT_EQ(client.alias("short:2").value(), good.authority() + "/b:2");
    out.clear();
    Access access;
    access.avoid = {half.authority()};
    EXPECT_EQ(
        client.blob(redis, descriptor_of(blob), 0, [&](std::string_view bytes) { out += bytes; }, access), std::vector{good.authority()});
}

TEST_F(ClientTest, a_redirect_to_a_blocked_host_is_refused) {
    const TestServer bad{[&](const TestRequest&) { return TestAnswer{200, {oci_type}, manifest_text, {}, {}}; }};
    const TestServer server{[&](const TestRequest&) { return TestAnswer{302, {"Location: " + bad.url() + "/x"}, "", {}, {}}; }};
    std::ofstream{folder_ + "/registries.toml"} << fmt::format("[[registry]]\nprefix = \"{}\"\nblocked = true\n", bad.authority());
    EXPECT_NE(error_of([&] { Client{options_}.manifest(name(server), {}); }).find("is blocked by the rule"), std::string::npos);
    EXPECT_NE(error_of([&] { Client{options_}.manifest(name(bad), {}); }).find("is blocked by the rule"), std::string::npos);
    EXPECT_EQ(bad.connections(), 0U);
}

TEST_F(ClientTest, a_file_by_its_url) {
    const TestServer files{[&](const TestRequest& request) {
        return request.target == "/f" ? TestAnswer{200, {}, "text", {}, {}} : TestAnswer{404, {}, "no\n\x1b", {}, {}};
    }};
    const TestServer server{[&](const TestRequest& request) {
        return TestAnswer{302, {"Location: " + (request.target == "/loop" ? "/loop" : files.url() + request.target)}, "", {}, {}};
    }};
    const Client client{options_};
    std::string out;
    std::optional<std::uint64_t> size;
    const auto download = [&](const std::string& url) {
        client.download(url, [&](std::optional<std::uint64_t> each) { size = each; }, [&](std::string_view bytes) { out += bytes; }, {});
    };
    download(server.url() + "/f");
    EXPECT_EQ(out, "text");
    EXPECT_EQ(size, 4U);
    EXPECT_TRUE(
        error_of([&] { download(server.url() + "/g"); }).starts_with(fmt::format("failed to GET {}/g with status 404: no", files.url())));
    EXPECT_TRUE(error_of([&] { download(server.url() + "/loop"); }).ends_with("stopped after 10 redirects"));
    EXPECT_NE(error_of([&] { download("ftp://127.0.0.1/x"); }), "no error");
}

TEST_F(ClientTest, tags_in_pages_and_referrers_by_tag) {
    const oci::Digest digest = content::digest_of("subject");
    const std::string index =
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)" +
        std::string(64, 'b') + R"(","size":3}]})";
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.target == "/v2/x/tags/list?n=1000")
            return {200, {R"(Link: </v2/x/tags/list?n=1000&last=b>; rel="next")"}, R"({"name":"x","tags":["a","b"]})", {}, {}};
        if (request.target == "/v2/x/tags/list?n=1000&last=b") return {200, {}, R"({"name":"x","tags":["c","../d"]})", {}, {}};
        if (request.target == fmt::format("/v2/x/manifests/sha256-{}", digest.hex()))
            return {200, {"Content-Type: application/vnd.oci.image.index.v1+json"}, index, {}, {}};
        return {404, {}, "", {}, {}};
    }};
    const Client client{options_};
    EXPECT_EQ(client.tags(name(server), {}), (std::vector<std::string>{"a", "b", "c"}));
    const auto referrers = client.referrers(name(server), digest, {});
    ASSERT_EQ(referrers.size(), 1U);
    EXPECT_EQ(referrers[0].size, 3U);
}

TEST_F(ClientTest, uploads_in_chunks_that_are_gone_on_with) {
    options_.limits.chunk = 10'000;
    const std::string blob = random_bytes(45'000);
    std::string stored;
    std::atomic<int> patches = 0;
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.method == "HEAD") return {404, {}, "", {}, {}};
        if (request.method == "POST") return {202, {"Location: /up/1?s=1"}, "", {}, {}};
        const std::string range = fmt::format("Range: 0-{}", stored.empty() ? 0 : stored.size() - 1);
        if (request.method == "GET") return {204, {range, "Location: /up/1?s=3"}, "", {}, {}};
        EXPECT_TRUE(request.header("content-range").starts_with(fmt::format("{}-", stored.size())) || stored.empty());
        // One chunk arrives by half.
        if (request.method == "PATCH" && ++patches == 3) {
            stored += request.body.substr(0, 5000);
            return {500, {}, "", {}, {}};
        }
        stored += request.body;
        if (request.method == "PUT") {
            EXPECT_TRUE(request.target.contains("&digest=sha256%3A"));
            return {201, {"Docker-Content-Digest: " + content::digest_of(stored).text()}, "", {}, {}};
        }
        return {202, {fmt::format("Range: 0-{}", stored.size() - 1), "Location: /up/1?s=2"}, "", {}, {}};
    }};
    const Source source = [&](std::uint64_t offset, char* out, std::size_t size) {
        const std::string part = blob.substr(offset, size);
        std::ranges::copy(part, out);
        return part.size();
    };
    std::uint64_t reported = 0;
    const PushResult result =
        Client{options_}.push_blob(name(server), descriptor_of(blob), source, {}, [&](std::uint64_t at) { reported = at; }, {});
    EXPECT_EQ(result.how, Pushed::uploaded);
    EXPECT_EQ(stored, blob);
    EXPECT_EQ(reported, blob.size());
}

TEST_F(ClientTest, what_is_there_is_not_sent) {
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        if (request.method == "HEAD") return {request.target.contains("/old/") ? 200 : 404, {}, "", {}, 3};
        if (request.method == "POST" && request.target.contains("from=other")) return {201, {"Location: /x"}, "", {}, {}};
        if (request.method == "PUT") return {201, {}, "", {}, {}};
        return {500, {}, "", {}, {}};
    }};
    const Client client{options_};
    const oci::Descriptor descriptor = descriptor_of("abc");
    const Source none = [](std::uint64_t, char*, std::size_t) -> std::size_t { return 0; };
    EXPECT_EQ(client.push_blob(name(server, "old"), descriptor, none, {}, {}, {}).how, Pushed::existed);
    const PushResult result = client.push_blob(name(server), descriptor, none, {name(server, "other")}, {}, {});
    EXPECT_EQ(result.how, Pushed::mounted);
    EXPECT_EQ(result.mounted_from, "other");
    EXPECT_EQ(client.push_manifest(name(server), oci::media_type::manifest, manifest_text, {}), content::digest_of(manifest_text));
    EXPECT_EQ(server.requests().back().header("content-type"), oci::media_type::manifest);
}

TEST_F(ClientTest, through_a_proxy_but_for_hosts_without) {
    const TestServer proxy{[&](const TestRequest&) { return TestAnswer{200, {oci_type}, manifest_text, {}, {}}; }};
    options_.http_proxy = proxy.url();
    options_.no_proxy = "inside.invalid";
    std::ofstream{folder_ + "/registries.toml"} << "[[registry]]\nprefix = \"r.invalid\"\nlocation = \"http://r.invalid:5000\"\n"
                                                   "[[registry]]\nprefix = \"inside.invalid\"\nlocation = \"http://inside.invalid\"\n";
    const Client client{options_};
    EXPECT_EQ(client.manifest(oci::Reference::parse("r.invalid/x"), {}).host, "r.invalid:5000");
    EXPECT_EQ(proxy.requests().at(0).target, "http://r.invalid:5000/v2/x/manifests/latest");
    EXPECT_NE(error_of([&] { client.manifest(oci::Reference::parse("inside.invalid/x"), {}); }).find("no such host"), std::string::npos);
}

TEST_F(ClientTest, a_proxy_is_passed_by_on_loopback) {
    options_.http_proxy = "http://127.0.0.1:1";
    const TestServer server{[&](const TestRequest&) { return TestAnswer{200, {oci_type}, manifest_text, {}, {}}; }};
    Client{options_}.manifest(name(server), {});
}

TEST_F(ClientTest, search) {
    const TestServer server{[&](const TestRequest& request) -> TestAnswer {
        EXPECT_EQ(request.target, "/v1/search?q=a%20b&n=25");
        return {200, {}, R"({"results":[{"name":"x","star_count":3,"is_official":true}]})", {}, {}};
    }};
    const auto found = Client{options_}.search(server.authority() + "/a b", 0, {});
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].star_count, 3);
    EXPECT_THROW(Client{options_}.search("x", 101, {}), Error);
}

TEST_F(ClientTest, who_does_not_listen_is_named) {
    const std::string error = error_of([&] { Client{options_}.manifest(oci::Reference::parse("127.0.0.1:1/x"), {}); });
    EXPECT_EQ(error, "Get \"http://127.0.0.1:1/v2/x/manifests/latest\": dial tcp 127.0.0.1:1: connect: connection refused");
}

}  // namespace
}  // namespace grua::registry
