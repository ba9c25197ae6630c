#include "build/send_tree.hpp"

#include "base/condition.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"
#include "build/path_table.hpp"

#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace grua::build {
namespace {

namespace files = wire::files;
using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;

constexpr std::size_t entries_at_once = 512;                   ///< Of the list, that are read before they are sent.
constexpr std::size_t list_bytes = std::size_t{256} << 10U;    ///< The same in bytes.
constexpr std::size_t piece_bytes = std::size_t{32} << 10U;    ///< Of contents, in one message: what every receiver takes.
constexpr std::size_t pieces_bytes = std::size_t{256} << 10U;  ///< Of contents, that are read before they are sent.
constexpr std::size_t files_at_once = 32;                      ///< Of one reader.
constexpr std::size_t reported_error = 4096;
constexpr std::chrono::seconds time_for_error = 2s;

std::string packet_of(files::Packet::PacketType type, std::uint32_t id, std::string data) {
    files::Packet packet;
    packet.set_type(type);
    packet.set_id(id);
    packet.set_data(std::move(data));
    return packet.SerializeAsString();
}

/// Messages that were made on the pool.
struct Messages {
    struct Each {
        std::string packet;
        bool ends_file = false;
    };
    std::vector<Each> all;
    std::size_t bytes = 0;
    void add(std::string packet, bool ends_file = false) {
        bytes += packet.size();
        all.push_back({std::move(packet), ends_file});
    }
};

struct Listed {
    std::string path;
    std::uint64_t size = 0;
    std::size_t part = 0;
    bool is_file = false;  ///< With contents that may be asked for.
};

struct ListPiece {
    Messages messages;
    std::vector<Listed> entries;
    bool is_last = false;
};

ListPiece next_of_list(TreeWalk& walk) {
    ListPiece out;
    while (out.entries.size() < entries_at_once && out.messages.bytes < list_bytes) {
        auto entry = walk.next();
        files::Packet packet;
        packet.set_type(files::Packet::PACKET_STAT);
        if (!entry) {
            // One without a file is the end.
            out.messages.add(packet.SerializeAsString());
            out.is_last = true;
            return out;
        }
        *packet.mutable_stat() = write_stat(entry->path, entry->about);
        out.messages.add(packet.SerializeAsString());
        const bool is_file = S_ISREG(entry->about.mode) && entry->about.link.empty();
        out.entries.push_back({std::move(entry->path), entry->about.size, entry->part, is_file});
    }
    return out;
}

/// A file that was asked for.
struct Asked {
    std::uint32_t id = 0;
    std::string path;
    std::uint64_t size = 0;
    std::size_t part = 0;
};

/// Reads files one after the other, as much at a time as may wait. Used by one thread at a time.
class ContentsReader {
public:
    explicit ContentsReader(const std::vector<TreePart>& parts) : parts_(parts), buffer_(piece_bytes) {}

    bool is_done() const noexcept { return asked_.empty() && !file_; }
    void add(Asked file) { asked_.push_back(std::move(file)); }

    Messages read() {
        Messages out;
        while (!is_done() && out.bytes < pieces_bytes) {
            if (!file_) {
                present_ = std::move(asked_.front());
                asked_.pop_front();
                file_.emplace(parts_[present_.part], present_.path, present_.size);
            }
            const std::size_t count = file_->read(buffer_);
            out.add(packet_of(files::Packet::PACKET_DATA, present_.id, {buffer_.data(), count}), count == 0);
            if (count == 0) file_.reset();
        }
        return out;
    }

private:
    const std::vector<TreePart>& parts_;
    std::vector<char> buffer_;
    std::deque<Asked> asked_;
    Asked present_;
    std::optional<FileReader> file_;
};

class Sender : public std::enable_shared_from_this<Sender> {
public:
    Sender(PacketCall call, SendOptions options, asio::thread_pool& pool, const asio::any_io_executor& loop)
        : call_(call), options_(std::move(options)), pool_(pool), changed_(loop), walk_(options_.parts, options_.view) {}

    asio::awaitable<void> run() {
        try {
            co_await (first_failure(list()) && first_failure(take_requests()) && first_failure(send_files()) &&
                      first_failure(send_files()));
        } catch (...) {
            if (!failure_) failure_ = std::current_exception();
        }
        if (failure_) {
            co_await tell_failure();
            std::rethrow_exception(failure_);
        }
        call_.end();
        while (co_await call_.read()) {
        }
    }

private:
    /// When one of them fails the others are cancelled, and fail with that.
    asio::awaitable<void> first_failure(asio::awaitable<void> task) {
        try {
            co_await std::move(task);
        } catch (const grpc::CallError&) {
            // What the other side says counts more than that nothing can be written to it.
            failure_ = std::current_exception();
            throw;
        } catch (...) {
            if (!failure_) failure_ = std::current_exception();
            throw;
        }
    }

    template <typename Work>
    auto on_pool(Work work) {
        return offload(pool_, [self = shared_from_this(), work = std::move(work)] { return work(); });
    }

    asio::awaitable<void> write(Messages messages) {
        for (const Messages::Each& each : messages.all) {
            sent_ += each.packet.size();
            // Before it is out: the receiver may have ended when the writer is told.
            if (each.ends_file) --owed_;
            co_await call_.write(each.packet);
        }
        if (options_.progress) options_.progress(sent_);
    }

    asio::awaitable<void> list() {
        while (!is_listed_) {
            ListPiece piece = co_await on_pool([this] { return next_of_list(walk_); });
            for (const Listed& each : piece.entries) table_.add(each.path, each.size, each.part, each.is_file);
            is_listed_ = piece.is_last;
            co_await write(std::move(piece.messages));
        }
    }

    asio::awaitable<void> take_requests() {
        for (;;) {
            const auto packet = co_await call_.read();
            if (!packet) fail(ErrorKind::unavailable, "the receiver of files has left before it had all");
            switch (packet->type()) {
                case files::Packet::PACKET_REQ:
                    take_request(packet->id());
                    break;
                case files::Packet::PACKET_FIN:
                    if (!is_listed_ || owed_ > 0)
                        fail(ErrorKind::invalid_argument, "the receiver of files has ended before all had come that it wanted");
                    is_over_ = true;
                    changed_.notify_all();
                    co_await call_.write(files::Packet::PACKET_FIN);
                    co_return;
                case files::Packet::PACKET_ERR:
                    fail(ErrorKind::unavailable, "the receiver of files: {}", to_valid_utf8(packet->data().substr(0, reported_error)));
                default:
                    fail(ErrorKind::invalid_argument, "the receiver of files sends a packet of type {}", static_cast<int>(packet->type()));
            }
        }
    }

    void take_request(std::uint32_t id) {
        if (!table_.take(id))
            fail(ErrorKind::invalid_argument, "the receiver of files asks for {}, which is no file that it may ask for", id);
        asked_.push_back(id);
        ++owed_;
        changed_.notify_all();
    }

    asio::awaitable<void> send_files() {
        const auto reader = std::make_shared<ContentsReader>(options_.parts);
        while (!is_over_) {
            if (asked_.empty()) {
                co_await changed_.wait();
                continue;
            }
            for (std::size_t count = 0; count < files_at_once && !asked_.empty(); ++count) {
                const std::uint32_t id = asked_.front();
                asked_.pop_front();
                reader->add({id, table_.path(id), table_.size(id), table_.part(id)});
            }
            while (!reader->is_done()) {
                Messages messages = co_await on_pool([reader] { return reader->read(); });
                co_await write(std::move(messages));
            }
        }
    }

    /// Whoever takes nothing any more is not waited for.
    asio::awaitable<void> tell_failure() {
        std::string text = "failed to send files";
        try {
            std::rethrow_exception(failure_);
        } catch (const std::exception& error) {
            text = error.what();
        }
        const auto tell = [](PacketCall call, std::string said) -> asio::awaitable<void> {
            try {
                co_await call.write(files::Packet::PACKET_ERR, 0, std::move(said));
                call.end();
                while (co_await call.read()) {
                }
            } catch (const Error&) {
                co_return;  // It has left, or ends the call with an error of its own.
            }
        };
        try {
            asio::steady_timer timer(co_await asio::this_coro::executor, time_for_error);
            co_await (tell(call_, text) || timer.async_wait(asio::use_awaitable));
        } catch (const boost::system::system_error&) {
            co_return;  // The call itself was cancelled.
        }
    }

    PacketCall call_;
    SendOptions options_;
    asio::thread_pool& pool_;
    Condition changed_;
    TreeWalk walk_;
    PathTable table_;
    std::deque<std::uint32_t> asked_;
    std::size_t owed_ = 0;  ///< Files that were asked for and have not been sent to their end.
    std::uint64_t sent_ = 0;
    bool is_listed_ = false;
    bool is_over_ = false;
    std::exception_ptr failure_;
};

}  // namespace

asio::awaitable<void> send_tree(PacketCall call, SendOptions options, asio::thread_pool& pool) {
    const auto sender = std::make_shared<Sender>(call, std::move(options), pool, co_await asio::this_coro::executor);
    co_await sender->run();
}

}  // namespace grua::build
