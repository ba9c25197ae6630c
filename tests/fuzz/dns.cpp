// What containers and upstream servers send to the resolver.
#include "fuzz.hpp"
#include "network/dns_message.hpp"

#include <span>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua::network;
    const dns::View message = std::as_bytes(std::span(data, size));
    const dns::Parsed parsed = dns::parse_query(message);
    if (size >= 12) {
        const dns::Bytes error = dns::answer_error(message, dns::Rcode::server_failure);
        grua::fuzz::check(error.size() <= size && dns::rcode_of(error) == dns::Rcode::server_failure);
    }
    static_cast<void>(dns::is_answer_to(message, message));
    if (!parsed.question) return 0;
    static_cast<void>(dns::reverse_address(parsed.question->name));
    const std::vector<grua::linux::Ip> addresses(3, grua::linux::Ip::v4(0x0a630002));
    dns::Question question = *parsed.question;
    question.type = dns::type_a;
    const dns::Bytes answer = dns::answer_addresses(question, addresses, question.udp_size);
    grua::fuzz::check(answer.size() <= question.udp_size && dns::id_of(answer) == question.id);
    return 0;
}
