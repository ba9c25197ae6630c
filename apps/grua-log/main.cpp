#include "monitor/log_program.hpp"

int main(int count, char** arguments) { return grua::monitor::run_log_program(count, arguments); }
