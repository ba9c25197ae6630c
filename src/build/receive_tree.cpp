#include "build/receive_tree.hpp"

#include "base/condition.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"
#include "build/tree_walk.hpp"

#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <boost/asio/detached.hpp>
#include <exception>
#include <unordered_map>

namespace grua::build {
namespace {

namespace files = wire::files;

constexpr std::size_t writers = 2;                          ///< Threads that write and hash, at most.
constexpr std::size_t files_ahead = 128;                    ///< That are asked for and not yet whole.
constexpr std::size_t bytes_ahead = std::size_t{8} << 20U;  ///< That have come and are not yet written.

struct Piece {
    std::shared_ptr<FileWriter> file;
    std::string bytes;  ///< Empty: it is whole.
};

/// Files that one thread writes, one after the other.
struct Writer {
    std::vector<Piece> waiting;
    bool is_busy = false;
};

class Receiver : public std::enable_shared_from_this<Receiver> {
public:
    Receiver(PacketCall call, ReceiveOptions options, asio::thread_pool& pool, const asio::any_io_executor& loop)
        : call_(call), options_(std::move(options)), pool_(pool), loop_(loop), tree_(options_.folder, options_.present), changed_(loop) {}

    asio::awaitable<TreeIndex> run() {
        co_await take_list();
        co_await on_pool([this] { prepare(); });
        co_await take_files();
        co_await on_pool([this] { complete(); });
        co_await call_.write(files::Packet::PACKET_FIN);
        while (const auto packet = co_await next())
            if (packet->type() == files::Packet::PACKET_FIN) break;
        call_.end();
        co_return std::move(list_.entries());
    }

    /// Whoever writes still has let go of this then.
    asio::awaitable<void> settle() {
        while (std::ranges::any_of(writers_, &Writer::is_busy)) co_await changed_.wait();
    }

private:
    template <typename Work>
    asio::awaitable<void> on_pool(Work work) {
        return offload(pool_, [self = shared_from_this(), work = std::move(work)] { work(); });
    }

    void prepare() {
        std::uint32_t number = 0;
        for (const TreeIndex::value_type* each : list_.in_order()) numbers_.emplace(each->first, number++);
        if (options_.removes_others) remove_others();
        changes_ = changes_between(options_.before, list_.entries());
        for (const std::string& each : changes_.remove) tree_.remove(each);
        for (const std::string& each : changes_.make) tree_.make(each, list_.entries().at(each));
    }

    void remove_others() {
        std::vector<TreePart> parts(1);
        parts[0].folder = Root::open(options_.folder.c_str());
        TreeWalk walk(parts, {});
        std::vector<std::string> others;
        while (const auto each = walk.next())
            if (!list_.entries().contains(each->path)) others.push_back(each->path);
        for (auto each = others.rbegin(); each != others.rend(); ++each) tree_.remove(*each);
    }

    void set_owner(TreeEntry& entry) const {
        entry.uid = options_.owner->uid;
        entry.gid = options_.owner->gid;
    }

    void complete() {
        for (const std::string& each : changes_.link) tree_.link(each, list_.entries().at(each));
        for (const std::string& each : changes_.touch) tree_.set(each, list_.entries().at(each));
        for (auto& [path, entry] : list_.entries())
            if (S_ISREG(entry.mode) && !entry.link.empty()) entry.digest = list_.entries().at(entry.link).digest;
    }

    asio::awaitable<std::optional<files::Packet>> next() {
        auto packet = co_await call_.read();
        if (packet && packet->type() == files::Packet::PACKET_ERR)
            fail(ErrorKind::unavailable, "the client's files: {}", to_valid_utf8(std::string_view(packet->data()).substr(0, 1000)));
        co_return packet;
    }

    asio::awaitable<void> take_list() {
        for (;;) {
            const auto packet = co_await next();
            if (!packet) fail(ErrorKind::unavailable, "the client's files: the list has no end");
            if (packet->type() != files::Packet::PACKET_STAT) continue;
            if (!packet->has_stat()) break;
            list_.add(packet->stat());
            if (options_.owner) set_owner(list_.entries().at(packet->stat().path()));
        }
    }

    asio::awaitable<void> take_files() {
        while (done_ < changes_.fetch.size()) {
            while (asked_ < changes_.fetch.size() && asked_ - done_ < files_ahead) co_await ask(changes_.fetch[asked_++]);
            throw_failure();
            const auto packet = co_await next();
            if (!packet) fail(ErrorKind::unavailable, "the client's files: it has ended before all had come");
            if (packet->type() == files::Packet::PACKET_FIN)
                fail(ErrorKind::unavailable, "the client's files: it has no more, and not all have come");
            if (packet->type() != files::Packet::PACKET_DATA) continue;
            take_piece(*packet);
            while (waiting_bytes_ > bytes_ahead && !failure_) co_await changed_.wait();
        }
        co_await settle();
        throw_failure();
    }

    asio::awaitable<void> ask(const std::string& path) {
        const std::uint32_t number = numbers_.at(path);
        open_.emplace(number, std::make_shared<FileWriter>(tree_, path, list_.entries().at(path)));
        co_await call_.write(files::Packet::PACKET_REQ, number);
    }

    void take_piece(const files::Packet& packet) {
        const auto file = open_.find(packet.id());
        if (file == open_.end())
            fail(ErrorKind::invalid_argument, "the client's files: contents of file {}, which were not asked for", packet.id());
        Writer& writer = writers_[packet.id() % writers];
        writer.waiting.push_back({file->second, packet.data()});
        waiting_bytes_ += packet.data().size();
        came_ += packet.data().size();
        if (options_.progress) options_.progress(came_);
        if (packet.data().empty()) {
            open_.erase(file);
            ++done_;
        }
        if (!writer.is_busy) {
            writer.is_busy = true;
            asio::co_spawn(loop_, drain(shared_from_this(), writer), asio::detached);
        }
    }

    static asio::awaitable<void> drain(std::shared_ptr<Receiver> self, Writer& writer) {
        try {
            while (!writer.waiting.empty() && !self->failure_) {
                std::vector<Piece> pieces = std::exchange(writer.waiting, {});
                std::size_t bytes = 0;
                for (const Piece& each : pieces) bytes += each.bytes.size();
                const auto whole = co_await offload(self->pool_, [self, pieces = std::move(pieces)] { return write_pieces(pieces); });
                for (const auto& [path, entry] : whole) self->list_.entries().at(path) = entry;
                self->waiting_bytes_ -= bytes;
                self->changed_.notify_all();
            }
        } catch (...) {
            if (!self->failure_) self->failure_ = std::current_exception();
        }
        writer.is_busy = false;
        self->changed_.notify_all();
    }

    static std::vector<std::pair<std::string, TreeEntry>> write_pieces(const std::vector<Piece>& pieces) {
        std::vector<std::pair<std::string, TreeEntry>> out;
        for (const Piece& each : pieces) {
            if (each.bytes.empty())
                out.emplace_back(each.file->path(), each.file->finish());
            else
                each.file->write(each.bytes);
        }
        return out;
    }

    void throw_failure() const {
        if (failure_) std::rethrow_exception(failure_);
    }

    PacketCall call_;
    ReceiveOptions options_;
    asio::thread_pool& pool_;
    asio::any_io_executor loop_;
    TreeWriter tree_;
    Condition changed_;
    TreeList list_;
    TreeChanges changes_;
    std::unordered_map<std::string, std::uint32_t> numbers_;
    std::unordered_map<std::uint32_t, std::shared_ptr<FileWriter>> open_;
    std::array<Writer, writers> writers_;
    std::size_t asked_ = 0;
    std::size_t done_ = 0;
    std::size_t waiting_bytes_ = 0;
    std::uint64_t came_ = 0;
    std::exception_ptr failure_;
};

}  // namespace

asio::awaitable<TreeIndex> receive_tree(PacketCall call, ReceiveOptions options, asio::thread_pool& pool, asio::any_io_executor loop) {
    const auto receiver = std::make_shared<Receiver>(call, std::move(options), pool, loop);
    std::exception_ptr failure;
    TreeIndex out;
    try {
        out = co_await receiver->run();
    } catch (...) {
        failure = std::current_exception();
    }
    co_await receiver->settle();
    if (failure) std::rethrow_exception(failure);
    co_return out;
}

}  // namespace grua::build
