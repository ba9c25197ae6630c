#include "engine/model/names.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <random>

namespace grua::engine {
namespace {

constexpr std::array moods = {"able",   "agile",    "airy",    "alert",  "amber",  "ample",   "apt",     "balmy",   "bold",   "brave",
                              "breezy", "bright",   "brisk",   "calm",   "candid", "careful", "cheery",  "civil",   "clear",  "clever",
                              "cosy",   "crisp",    "curious", "daring", "deft",   "dewy",    "earnest", "easy",    "eager",  "fair",
                              "famous", "festive",  "fine",    "fluent", "fond",   "frank",   "free",    "fresh",   "gentle", "glad",
                              "golden", "grand",    "hardy",   "hearty", "humble", "ideal",   "jolly",   "just",    "keen",   "kind",
                              "lively", "loyal",    "lucid",   "lucky",  "mellow", "merry",   "mild",    "modest",  "neat",   "nimble",
                              "noble",  "patient",  "placid",  "plucky", "polite", "prompt",  "proud",   "quick",   "quiet",  "radiant",
                              "ready",  "robust",   "rosy",    "serene", "sharp",  "shiny",   "silent",  "sincere", "smooth", "snug",
                              "sober",  "sound",    "spry",    "stable", "steady", "stellar", "sturdy",  "subtle",  "sunny",  "swift",
                              "tidy",   "tranquil", "upbeat",  "useful", "vivid",  "warm",    "wise",    "witty",   "young",  "zesty"};

constexpr std::array people = {
    "abel",       "agnesi",       "ampere",  "archimedes",   "babbage",      "banach",   "bernoulli",  "boole",    "born",
    "bose",       "brahe",        "cantor",  "carson",       "cauchy",       "cayley",   "chadwick",   "church",   "clarke",
    "copernicus", "coulomb",      "curie",   "darwin",       "dirac",        "easley",   "edison",     "einstein", "elion",
    "engelbart",  "eratosthenes", "euclid",  "euler",        "faraday",      "fermat",   "fermi",      "feynman",  "fourier",
    "franklin",   "galileo",      "galois",  "gauss",        "germain",      "goldberg", "goodall",    "haibt",    "hamilton",
    "hawking",    "heisenberg",   "hermite", "herschel",     "hertz",        "hilbert",  "hodgkin",    "hopper",   "huygens",
    "hypatia",    "jackson",      "jacobi",  "jemison",      "johnson",      "joliot",   "kalam",      "kapitsa",  "kepler",
    "khayyam",    "kilby",        "kirch",   "knuth",        "kovalevskaya", "lagrange", "lamarr",     "laplace",  "leavitt",
    "leibniz",    "lovelace",     "lumiere", "maxwell",      "mayer",        "mccarthy", "meitner",    "mendel",   "mirzakhani",
    "napier",     "nash",         "neumann", "newton",       "nightingale",  "nobel",    "noether",    "pascal",   "pasteur",
    "pauli",      "payne",        "planck",  "poincare",     "ptolemy",      "raman",    "ramanujan",  "riemann",  "ritchie",
    "rubin",      "rutherford",   "sammet",  "shannon",      "shockley",     "snyder",   "somerville", "swartz",   "tesla",
    "thompson",   "torvalds",     "turing",  "varahamihira", "villani",      "volta",    "wiles",      "wing",     "wozniak",
    "wright",     "wu",           "yalow"};

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

}  // namespace

std::string checked_name(std::string_view name) {
    const std::string_view bare = name.starts_with('/') ? name.substr(1) : name;
    const auto allowed = [](char c) { return is_letter_or_digit(c) || c == '_' || c == '.' || c == '-'; };
    if (bare.size() < 2 || !is_letter_or_digit(bare[0]) || !std::ranges::all_of(bare, allowed))
        fail(ErrorKind::invalid_argument, "Invalid container name ({}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name);
    return std::string(bare);
}

std::string random_name(int attempt) {
    std::random_device random;
    std::string name = fmt::format("{}_{}", moods.at(random() % moods.size()), people.at(random() % people.size()));
    if (attempt > 0) name += std::to_string(random() % 10U);
    return name;
}

}  // namespace grua::engine
