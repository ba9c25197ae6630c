#include "network/dns_message.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <ldns/ldns.h>
#include <algorithm>
#include <cstring>
#include <memory>

namespace grua::network::dns {

using linux::Ip;

namespace {

constexpr std::size_t header_size = 12;
constexpr std::uint32_t time_to_live = 600;  // Seconds; Docker's.
constexpr std::size_t smallest_udp = 512;

struct FreePacket {
    void operator()(ldns_pkt* packet) const { ldns_pkt_free(packet); }
};
using Packet = std::unique_ptr<ldns_pkt, FreePacket>;

unsigned byte_at(View message, std::size_t at) { return std::to_integer<unsigned>(message[at]); }

/// Where the one question ends; 0 where there is none that is well formed. Names in questions are not compressed.
std::size_t question_end(View message) {
    if (message.size() < header_size || byte_at(message, 4) != 0 || byte_at(message, 5) != 1) return 0;
    std::size_t at = header_size;
    for (;;) {
        if (at >= message.size()) return 0;
        const unsigned length = byte_at(message, at);
        if (length > 63) return 0;
        at += 1 + length;
        if (length == 0) break;
    }
    at += 4;
    return at <= message.size() ? at : 0;
}

std::string name_text(const ldns_rdf* name) {
    const std::unique_ptr<char, decltype(&std::free)> text(ldns_rdf2str(name), &std::free);
    if (!text) throw std::bad_alloc();
    std::string out = to_lower(text.get());
    if (out.ends_with('.') && out.size() > 1) out.pop_back();
    return out;
}

Packet new_answer(const Question& question) {
    Packet packet(ldns_pkt_new());
    if (!packet) throw std::bad_alloc();
    ldns_pkt_set_id(packet.get(), question.id);
    ldns_pkt_set_qr(packet.get(), true);
    ldns_pkt_set_rd(packet.get(), question.recursion_desired);
    ldns_pkt_set_ra(packet.get(), true);
    ldns_rr* asked = ldns_rr_new_frm_type(static_cast<ldns_rr_type>(question.type));
    if (!asked) throw std::bad_alloc();
    ldns_rr_set_question(asked, true);
    ldns_rr_set_class(asked, static_cast<ldns_rr_class>(question.class_));
    ldns_rr_set_owner(asked, ldns_dname_new_frm_str(question.name.empty() ? "." : question.name.c_str()));
    ldns_pkt_push_rr(packet.get(), LDNS_SECTION_QUESTION, asked);
    return packet;
}

void push(const Packet& packet, const Question& question, ldns_rdf* data) {
    ldns_rr* record = ldns_rr_new();
    if (!record || !data) throw std::bad_alloc();
    ldns_rr_set_owner(record, ldns_dname_new_frm_str(question.name.c_str()));
    ldns_rr_set_type(record, static_cast<ldns_rr_type>(question.type));
    ldns_rr_set_class(record, LDNS_RR_CLASS_IN);
    ldns_rr_set_ttl(record, time_to_live);
    ldns_rr_push_rdf(record, data);
    ldns_pkt_push_rr(packet.get(), LDNS_SECTION_ANSWER, record);
}

Bytes wire(const Packet& packet) {
    std::uint8_t* data = nullptr;
    std::size_t size = 0;
    if (ldns_pkt2wire(&data, packet.get(), &size) != LDNS_STATUS_OK) fail(ErrorKind::system, "dns: an answer cannot be written");
    const std::unique_ptr<std::uint8_t, decltype(&std::free)> owned(data, &std::free);
    Bytes out(size);
    std::memcpy(out.data(), data, size);
    return out;
}

}  // namespace

Parsed parse_query(View message) {
    if (message.size() < header_size || (byte_at(message, 2) & 0x80U) != 0) return {};
    if ((byte_at(message, 2) >> 3U & 0xfU) != 0) return {.question = {}, .rcode = Rcode::not_implemented};
    if (question_end(message) == 0) return {.question = {}, .rcode = Rcode::format_error};
    ldns_pkt* raw = nullptr;
    const ldns_status status = ldns_wire2pkt(&raw, reinterpret_cast<const std::uint8_t*>(message.data()), message.size());
    const Packet packet(raw);
    if (status != LDNS_STATUS_OK || ldns_rr_list_rr_count(ldns_pkt_question(raw)) != 1)
        return {.question = {}, .rcode = Rcode::format_error};
    const ldns_rr* asked = ldns_rr_list_rr(ldns_pkt_question(raw), 0);
    Question out;
    out.id = ldns_pkt_id(raw);
    out.name = name_text(ldns_rr_owner(asked));
    out.type = static_cast<std::uint16_t>(ldns_rr_get_type(asked));
    out.class_ = static_cast<std::uint16_t>(ldns_rr_get_class(asked));
    out.recursion_desired = ldns_pkt_rd(raw);
    if (ldns_pkt_edns(raw)) out.udp_size = std::max<std::size_t>(smallest_udp, ldns_pkt_edns_udp_size(raw));
    return {.question = std::move(out), .rcode = Rcode::no_error};
}

std::optional<Ip> reverse_address(std::string_view name) {
    constexpr std::string_view v4 = ".in-addr.arpa";
    constexpr std::string_view v6 = ".ip6.arpa";
    if (name.ends_with(v4)) {
        auto parts = split(name.substr(0, name.size() - v4.size()), '.');
        std::ranges::reverse(parts);
        return parts.size() == 4 ? Ip::parse(join(parts, ".")) : std::nullopt;
    }
    if (!name.ends_with(v6)) return std::nullopt;
    name.remove_suffix(v6.size());
    if (name.size() != 63) return std::nullopt;
    std::string text;
    for (std::size_t i = 0; i < 32; ++i) {
        text += name[62 - i * 2];
        if (i % 4 == 3 && i != 31) text += ':';
    }
    return Ip::parse(text);
}

Bytes answer_addresses(const Question& question, const std::vector<Ip>& addresses, std::size_t limit) {
    const Packet packet = new_answer(question);
    for (const Ip& each : addresses) {
        const auto bytes = each.bytes();
        push(packet, question, ldns_rdf_new_frm_data(each.is_v4() ? LDNS_RDF_TYPE_A : LDNS_RDF_TYPE_AAAA, bytes.size(), bytes.data()));
    }
    Bytes out = wire(packet);
    if (out.size() <= limit) return out;
    const Packet cut = new_answer(question);
    ldns_pkt_set_tc(cut.get(), true);
    return wire(cut);
}

Bytes answer_name(const Question& question, const std::string& name) {
    const Packet packet = new_answer(question);
    push(packet, question, ldns_dname_new_frm_str(name.c_str()));
    return wire(packet);
}

Bytes answer_error(View query, Rcode rcode) {
    if (query.size() < header_size) fail(ErrorKind::invalid_argument, "dns: no message");
    const std::size_t end = question_end(query);
    Bytes out(query.begin(), query.begin() + static_cast<std::ptrdiff_t>(end == 0 ? header_size : end));
    // An answer, recursion available; opcode and RD as they were.
    out[2] = static_cast<std::byte>(0x80U | (byte_at(query, 2) & 0x79U));
    out[3] = static_cast<std::byte>(0x80U | static_cast<unsigned>(rcode));
    std::ranges::fill(std::span(out).subspan(4, header_size - 4), std::byte{0});
    if (end != 0) out[5] = std::byte{1};
    return out;
}

bool is_answer_to(View answer, View query) {
    const std::size_t end = question_end(query);
    if (end == 0 || question_end(answer) != end || (byte_at(answer, 2) & 0x80U) == 0 || id_of(answer) != id_of(query)) return false;
    const auto lower = [](std::byte b) { return b >= std::byte{'A'} && b <= std::byte{'Z'} ? b | std::byte{0x20} : b; };
    return std::ranges::equal(answer.subspan(header_size, end - header_size), query.subspan(header_size, end - header_size), {}, lower,
                              lower);
}

Rcode rcode_of(View message) { return static_cast<Rcode>(message.size() < header_size ? 2U : byte_at(message, 3) & 0xfU); }

std::uint16_t id_of(View message) {
    return message.size() < 2 ? std::uint16_t{0} : static_cast<std::uint16_t>(byte_at(message, 0) << 8U | byte_at(message, 1));
}

void set_id(Bytes& message, std::uint16_t id) {
    if (message.size() < 2) return;
    message[0] = static_cast<std::byte>(id >> 8U);
    message[1] = static_cast<std::byte>(id & 0xffU);
}

}  // namespace grua::network::dns
