#include "base/template.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

namespace grua::templates {

namespace {

[[noreturn]] void bad(std::string_view why) { fail(ErrorKind::invalid_argument, "template parsing error: template: :1: {}", why); }

enum class TokenKind { field, variable, word, literal, symbol, end };

struct Token {
    TokenKind kind = TokenKind::end;
    std::string text;  ///< A field without its dot, a variable with its dollar, a symbol.
    Value value;       ///< Of a literal.
    bool after_space = false;
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// A quoted text with Go's escapes; `at` stands on the quote and is moved behind the closing one.
std::string unquote(std::string_view text, std::size_t& at) {
    const char quote = text[at++];
    std::string out;
    while (at < text.size() && text[at] != quote) {
        char c = text[at++];
        if (c == '\\' && quote != '`' && at < text.size()) {
            c = text[at++];
            switch (c) {
                case 'n':
                    c = '\n';
                    break;
                case 't':
                    c = '\t';
                    break;
                case 'r':
                    c = '\r';
                    break;
                default:
                    break;
            }
        }
        out += c;
    }
    if (at >= text.size()) bad("unterminated quoted string");
    ++at;
    return out;
}

std::vector<Token> tokenize(std::string_view text) {
    std::vector<Token> out;
    std::size_t at = 0;
    bool space = true;
    while (at < text.size()) {
        const char c = text[at];
        if (std::isspace(static_cast<unsigned char>(c)) != 0) {
            ++at;
            space = true;
            continue;
        }
        Token token;
        token.after_space = std::exchange(space, false);
        const auto word = [&] {
            const std::size_t start = at;
            while (at < text.size() && is_word(text[at])) ++at;
            return std::string(text.substr(start, at - start));
        };
        if (c == '.') {
            ++at;
            token.kind = TokenKind::field;
            token.text = word();
        } else if (c == '$') {
            ++at;
            token.kind = TokenKind::variable;
            token.text = "$" + word();
        } else if (c == '"' || c == '`' || c == '\'') {
            token.kind = TokenKind::literal;
            token.value = unquote(text, at);
        } else if (std::isdigit(static_cast<unsigned char>(c)) != 0 ||
                   (c == '-' && at + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[at + 1])) != 0)) {
            const std::size_t start = at++;
            while (at < text.size() && (is_word(text[at]) || text[at] == '.')) ++at;
            const std::string_view number = text.substr(start, at - start);
            token.kind = TokenKind::literal;
            if (const auto integer = parse_int(number)) {
                token.value = *integer;
            } else {
                double value = 0;
                const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
                if (error != std::errc{} || end != number.data() + number.size()) bad(fmt::format("bad number syntax: {:?}", number));
                token.value = value;
            }
        } else if (is_word(c)) {
            token.kind = TokenKind::word;
            token.text = word();
            if (token.text == "true" || token.text == "false" || token.text == "nil") {
                token.kind = TokenKind::literal;
                if (token.text != "nil") token.value = token.text == "true";
            }
        } else if (text.substr(at).starts_with(":=")) {
            token.kind = TokenKind::symbol;
            token.text = ":=";
            at += 2;
        } else if (std::string_view("()|,=").find(c) != std::string_view::npos) {
            token.kind = TokenKind::symbol;
            token.text = std::string(1, c);
            ++at;
        } else {
            bad(fmt::format("unexpected {:?} in operand", std::string(1, c)));
        }
        out.push_back(std::move(token));
    }
    out.emplace_back();
    return out;
}

struct Pipeline;

struct Operand {
    enum class Kind { dot, variable, literal, function, pipeline } kind = Kind::dot;
    std::string name;
    Value literal;
    std::unique_ptr<Pipeline> pipeline;
    std::vector<std::string> chain;
};

struct Command {
    std::vector<Operand> operands;
};

struct Pipeline {
    std::vector<std::string> variables;  ///< Declared or assigned by it.
    bool assigns = false;
    std::vector<Command> commands;
};

}  // namespace

struct Template::Node {
    enum class Kind { text, action, branch, range, with } kind = Kind::text;
    std::string text;
    Pipeline pipeline;
    std::vector<std::unique_ptr<Node>> body;
    std::vector<std::unique_ptr<Node>> otherwise;
};

namespace {

using Nodes = std::vector<std::unique_ptr<Template::Node>>;

class PipelineParser {
public:
    PipelineParser(std::vector<Token> tokens, std::vector<std::string>& fields) : tokens_(std::move(tokens)), fields_(fields) {}

    bool take_word(std::string_view word) {
        if (peek().kind != TokenKind::word || peek().text != word) return false;
        ++at_;
        return true;
    }
    bool at_end() const { return peek().kind == TokenKind::end; }

    Pipeline whole() {
        Pipeline pipeline = parse(0);
        if (!at_end()) bad(fmt::format("unexpected {:?} in command", peek().text));
        return pipeline;
    }

private:
    const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
    bool symbol(std::string_view text, std::size_t ahead = 0) const {
        return peek(ahead).kind == TokenKind::symbol && peek(ahead).text == text;
    }

    Pipeline parse(int depth) {
        if (depth > template_depth_limit) bad("nested too deeply");
        Pipeline pipeline;
        if (peek().kind == TokenKind::variable) {
            const bool two = symbol(",", 1) && peek(2).kind == TokenKind::variable;
            const std::size_t after = two ? 3 : 1;
            if (symbol(":=", after) || symbol("=", after)) {
                pipeline.assigns = symbol("=", after);
                pipeline.variables.push_back(peek().text);
                if (two) pipeline.variables.push_back(peek(2).text);
                at_ += after + 1;
            }
        }
        do {
            Command command;
            while (!at_end() && !symbol("|") && !symbol(")")) command.operands.push_back(operand(depth));
            if (command.operands.empty()) bad("missing value for command");
            pipeline.commands.push_back(std::move(command));
        } while (symbol("|") && ++at_);
        return pipeline;
    }

    Operand operand(int depth) {
        Operand out;
        const Token& token = peek();
        ++at_;
        switch (token.kind) {
            case TokenKind::field:
                out.kind = Operand::Kind::dot;
                if (!token.text.empty()) add(out, token.text);
                break;
            case TokenKind::variable:
                out.kind = Operand::Kind::variable;
                out.name = token.text;
                break;
            case TokenKind::literal:
                out.kind = Operand::Kind::literal;
                out.literal = token.value;
                return out;
            case TokenKind::word:
                if (!detail::is_function(token.text)) bad(fmt::format("function {:?} not defined", token.text));
                out.kind = Operand::Kind::function;
                out.name = token.text;
                return out;
            case TokenKind::symbol:
                if (token.text != "(") bad(fmt::format("unexpected {:?} in operand", token.text));
                out.kind = Operand::Kind::pipeline;
                out.pipeline = std::make_unique<Pipeline>(parse(depth + 1));
                if (!symbol(")")) bad("unclosed left paren");
                ++at_;
                break;
            case TokenKind::end:
                bad("unexpected end of action");
        }
        while (peek().kind == TokenKind::field && !peek().after_space && !peek().text.empty()) {
            add(out, peek().text);
            ++at_;
        }
        return out;
    }

    void add(Operand& operand, const std::string& field) {
        operand.chain.push_back(field);
        fields_.push_back(field);
    }

    std::vector<Token> tokens_;
    std::vector<std::string>& fields_;
    std::size_t at_ = 0;
};

class TemplateParser {
public:
    TemplateParser(std::string_view text, std::vector<std::string>& fields) : text_(text), fields_(fields) {}

    Nodes parse() {
        Nodes nodes;
        if (const std::string end = block(nodes, 0); !end.empty()) bad(fmt::format("unexpected {{{{{}}}}}", end));
        return nodes;
    }

private:
    /// Fills `nodes` up to {{end}} or {{else …}}, whose keyword it gives back; empty at the end of the text.
    std::string block(Nodes& nodes, int depth) {
        if (depth > template_depth_limit) bad("nested too deeply");
        while (at_ < text_.size()) {
            const std::size_t open = text_.find("{{", at_);
            std::string plain(text_.substr(at_, open == std::string_view::npos ? open : open - at_));
            if (std::exchange(trim_next_, false)) plain.erase(0, std::min(plain.size(), plain.find_first_not_of(" \t\r\n")));
            if (open == std::string_view::npos) {
                at_ = text_.size();
                add_text(nodes, std::move(plain));
                break;
            }
            std::size_t start = open + 2;
            if (text_.substr(start).starts_with("- ")) {
                ++start;
                plain.erase(plain.find_last_not_of(" \t\r\n") + 1);
            }
            add_text(nodes, std::move(plain));
            std::string_view action = take_action(start);
            if (trim(action).starts_with("/*")) continue;
            PipelineParser parser(tokenize(action), fields_);
            if (parser.take_word("end")) return "end";
            if (parser.take_word("else")) {
                pending_ = std::string(trim(action)).substr(4);
                return "else";
            }
            auto node = std::make_unique<Template::Node>();
            if (parser.take_word("if"))
                node->kind = Template::Node::Kind::branch;
            else if (parser.take_word("range"))
                node->kind = Template::Node::Kind::range;
            else if (parser.take_word("with"))
                node->kind = Template::Node::Kind::with;
            else
                node->kind = Template::Node::Kind::action;
            for (const char* missing : {"define", "template", "block", "break", "continue"}) {
                if (parser.take_word(missing)) bad(fmt::format("not implemented: {{{{{}}}}}", missing));
            }
            node->pipeline = parser.whole();
            if (node->kind != Template::Node::Kind::action) rest_of_block(*node, depth);
            nodes.push_back(std::move(node));
        }
        return {};
    }

    void rest_of_block(Template::Node& node, int depth) {
        std::string end = block(node.body, depth + 1);
        if (end == "else") {
            const std::string more(trim(pending_));
            if (more.empty()) {
                end = block(node.otherwise, depth + 1);
            } else {
                // {{else if x}} is an if in the else, which shares its end.
                PipelineParser parser(tokenize(more), fields_);
                auto inner = std::make_unique<Template::Node>();
                if (parser.take_word("if"))
                    inner->kind = Template::Node::Kind::branch;
                else if (parser.take_word("with"))
                    inner->kind = Template::Node::Kind::with;
                else
                    bad("unexpected text after {{else}}");
                inner->pipeline = parser.whole();
                rest_of_block(*inner, depth + 1);
                node.otherwise.push_back(std::move(inner));
                return;
            }
        }
        if (end != "end") bad("unexpected EOF");
    }

    /// The text between the braces; quotes may hold closing braces.
    std::string_view take_action(std::size_t start) {
        std::size_t at = start;
        while (at < text_.size()) {
            const char c = text_[at];
            if (text_.substr(at).starts_with("/*")) {
                const std::size_t end = text_.find("*/", at);
                if (end == std::string_view::npos) bad("unclosed comment");
                at = end + 2;
            } else if (c == '"' || c == '`') {
                unquote(text_, at);
            } else if (text_.substr(at).starts_with("}}")) {
                std::string_view action = text_.substr(start, at - start);
                if (action.ends_with(" -")) {
                    trim_next_ = true;
                    action.remove_suffix(1);
                }
                at_ = at + 2;
                return action;
            } else {
                ++at;
            }
        }
        bad("unclosed action");
    }

    static void add_text(Nodes& nodes, std::string text) {
        if (text.empty()) return;
        auto node = std::make_unique<Template::Node>();
        node->text = std::move(text);
        nodes.push_back(std::move(node));
    }

    std::string_view text_;
    std::vector<std::string>& fields_;
    std::size_t at_ = 0;
    bool trim_next_ = false;
    std::string pending_;
};

class Execution {
public:
    Execution(const Value& data, const TemplateOptions& options) : options_(options) { variables_.emplace_back("$", data); }

    void run(const Nodes& nodes, const Value& dot) {
        for (const auto& node : nodes) run(*node, dot);
    }

    std::string out;

private:
    void run(const Template::Node& node, const Value& dot) {
        using Kind = Template::Node::Kind;
        const std::size_t scope = variables_.size();
        switch (node.kind) {
            case Kind::text:
                out += node.text;
                return;
            case Kind::action: {
                const Value value = evaluate(node.pipeline, dot);
                if (node.pipeline.variables.empty()) out += print_value(value);
                return;
            }
            case Kind::branch: {
                const Value value = evaluate(node.pipeline, dot);
                run(detail::is_true(value) ? node.body : node.otherwise, dot);
                break;
            }
            case Kind::with: {
                const Value value = evaluate(node.pipeline, dot);
                if (detail::is_true(value))
                    run(node.body, value);
                else
                    run(node.otherwise, dot);
                break;
            }
            case Kind::range:
                range(node, dot);
                break;
        }
        variables_.resize(scope);
    }

    void range(const Template::Node& node, const Value& dot) {
        Pipeline const& pipeline = node.pipeline;
        const Value value = evaluate(pipeline, dot, false);
        std::vector<std::pair<Value, Value>> items;
        if (const auto* list = value.if_array()) {
            for (std::size_t i = 0; i < list->size(); ++i) items.emplace_back(static_cast<std::int64_t>(i), (*list)[i]);
        } else if (const auto* object = value.if_object()) {
            for (const auto& [key, each] : *object) items.emplace_back(Value(key), each);
            std::ranges::sort(items, {}, [](const auto& item) { return std::string_view(item.first.get_string()); });
        } else if (!value.is_null()) {
            fail(ErrorKind::invalid_argument, "template: :1: range can't iterate over {}", print_value(value));
        }
        if (items.empty()) return run(node.otherwise, dot);
        for (const auto& [key, each] : items) {
            const std::size_t scope = variables_.size();
            if (pipeline.variables.size() == 2) {
                variables_.emplace_back(pipeline.variables[0], key);
                variables_.emplace_back(pipeline.variables[1], each);
            } else if (pipeline.variables.size() == 1) {
                variables_.emplace_back(pipeline.variables[0], each);
            }
            run(node.body, each);
            variables_.resize(scope);
        }
    }

    Value evaluate(const Pipeline& pipeline, const Value& dot, bool declare = true) {
        std::optional<Value> value;
        for (const Command& command : pipeline.commands) value = evaluate(command, dot, value);
        if (declare && !pipeline.variables.empty()) {
            if (pipeline.assigns)
                variable(pipeline.variables.back()) = *value;
            else
                variables_.emplace_back(pipeline.variables.back(), *value);
        }
        return *value;
    }

    Value evaluate(const Command& command, const Value& dot, const std::optional<Value>& piped) {
        const Operand& first = command.operands.front();
        std::vector<Value> arguments;
        for (std::size_t i = 1; i < command.operands.size(); ++i) {
            // and, or stop at the first operand that decides.
            if (first.kind == Operand::Kind::function && !arguments.empty() && (first.name == "and" || first.name == "or") &&
                detail::is_true(arguments.back()) == (first.name == "or")) {
                break;
            }
            arguments.push_back(operand(command.operands[i], dot, {}));
        }
        if (piped) arguments.push_back(*piped);
        if (first.kind == Operand::Kind::function) return detail::call_function(first.name, arguments, options_.heading);
        return operand(first, dot, arguments);
    }

    Value operand(const Operand& operand, const Value& dot, std::span<const Value> arguments) {
        Value value;
        switch (operand.kind) {
            case Operand::Kind::dot:
                value = dot;
                break;
            case Operand::Kind::variable:
                value = variable(operand.name);
                break;
            case Operand::Kind::literal:
                value = operand.literal;
                break;
            case Operand::Kind::pipeline:
                value = evaluate(*operand.pipeline, dot);
                break;
            case Operand::Kind::function:
                return detail::call_function(operand.name, {}, options_.heading);
        }
        for (std::size_t i = 0; i < operand.chain.size(); ++i) {
            const bool last = i + 1 == operand.chain.size();
            value = member(value, operand.chain[i], last ? arguments : std::span<const Value>{});
        }
        return value;
    }

    Value member(const Value& value, const std::string& name, std::span<const Value> arguments) {
        if (options_.method) {
            if (auto result = options_.method(value, name, arguments)) return *std::move(result);
        }
        if (!arguments.empty()) {
            fail(ErrorKind::invalid_argument, "template: :1: executing \"\" at <.{}>: {} has arguments but cannot be invoked as function",
                 name, name);
        }
        if (value.is_null()) return nullptr;
        const auto* object = value.if_object();
        if (!object) {
            fail(ErrorKind::invalid_argument, "template: :1: executing \"\" at <.{}>: can't evaluate field {} in type {}", name, name,
                 std::string_view(boost::json::to_string(value.kind())));
        }
        if (const Value* found = object->if_contains(name)) return *found;
        if (options_.may_be_missing && options_.may_be_missing(name)) return nullptr;
        fail(ErrorKind::invalid_argument, "template: :1: executing \"\" at <.{}>: map has no entry for key \"{}\"", name, name);
    }

    Value& variable(const std::string& name) {
        const auto found = std::find_if(variables_.rbegin(), variables_.rend(), [&](const auto& each) { return each.first == name; });
        if (found == variables_.rend()) bad(fmt::format("undefined variable {:?}", name));
        return found->second;
    }

    const TemplateOptions& options_;
    std::vector<std::pair<std::string, Value>> variables_;
};

}  // namespace

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Template Template::parse(std::string_view text) {
    Template out;
    out.nodes_ = TemplateParser(text, out.fields_).parse();
    return out;
}

std::string Template::run(const Value& data, const TemplateOptions& options) const {
    Execution execution(data, options);
    execution.run(nodes_, data);
    return std::move(execution.out);
}

bool Template::mentions(std::string_view field) const { return std::ranges::find(fields_, field) != fields_.end(); }

}  // namespace grua::templates
