// Texts that were made of a value that never changes, kept with it: made once, by whoever asks first, for as long as the value
// lives. A copy of the value, which is about to become another one, has none.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace grua {

/// A text with one place that is filled in when it is read.
struct PreparedText {
    std::string text;
    std::size_t gap = 0;
};

/// A member of an immutable value. Thread-safe; two that ask at once may both make the text, and one of them is kept.
class Prepared {
public:
    using Text = std::shared_ptr<const PreparedText>;

    Prepared() = default;
    Prepared(const Prepared&) noexcept {}
    Prepared& operator=(const Prepared&) noexcept {
        texts_.store(nullptr, std::memory_order_relaxed);
        return *this;
    }
    ~Prepared() = default;

    /// What is known of a value by its texts says nothing of the value.
    bool operator==(const Prepared&) const noexcept { return true; }

    /// The text by this key; `make` makes it where there is none.
    template <typename Make>
    Text get(std::uint32_t key, Make make) const {
        const auto known = texts_.load(std::memory_order_acquire);
        if (known) {
            for (const Entry& each : *known)
                if (each.key == key) return each.text;
        }
        Text made = std::make_shared<const PreparedText>(make());
        auto next = std::make_shared<Entries>();
        next->reserve(known ? known->size() + 1 : 1);
        // The oldest goes first: nobody asks in many ways at a time.
        if (known) next->assign(known->size() < most ? known->begin() : known->begin() + 1, known->end());
        next->push_back({key, made});
        texts_.store(std::move(next), std::memory_order_release);
        return made;
    }

private:
    static constexpr std::size_t most = 3;
    struct Entry {
        std::uint32_t key;
        Text text;
    };
    using Entries = std::vector<Entry>;
    mutable std::atomic<std::shared_ptr<const Entries>> texts_;
};

}  // namespace grua
