#include "apps/report/table.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "apps/core/text_layout.h"
#include "apps/report/evaluation.h"

namespace caltrop {
namespace {

using Kind = Column::Kind;

Table sample() {
  Table table({{"name", "name"},
               {"images", "images", Kind::count},
               {"accuracy", "accuracy", Kind::percent, 1},
               {"size", "size", Kind::general, 3}});
  table.row({std::string("plain"), int64_t{10000}, 0.98765, 0.000248});
  table.row({std::string("a \"b\", c"), int64_t{-1234}, std::monostate{}, 2.0});
  return table;
}

TEST_SUITE("apps") {
  TEST_CASE("a table as text is aligned, numbers to the right") {
    CHECK(sample().text() ==
          "name      images  accuracy      size\n"
          "--------  ------  --------  --------\n"
          "plain     10,000    98.8 %  0.000248\n"
          "a \"b\", c  -1,234         -         2\n");
  }

  TEST_CASE("columns are as wide as their characters, not their bytes") {
    Table table({{"a", "a"}, {"b", "b"}});
    table.row({std::string("ε∞"), std::string("x")});
    CHECK(table.text() == "a   b\n--  -\nε∞  x\n");
  }

  TEST_CASE("what rounds to zero has no sign") {
    Table table({{"change", "change", Kind::percent, 2}});
    table.row({-0.00004});
    table.row({-0.00006});
    CHECK(table.markdown() == "| change |\n| ---: |\n| 0.00 % |\n| -0.01 % |\n");
  }

  TEST_CASE("a table as CSV quotes what needs it and keeps every digit") {
    CHECK(sample().csv() ==
          "name,images,accuracy,size\n"
          "plain,10000,0.98765,0.000248\n"
          "\"a \"\"b\"\", c\",-1234,,2\n");
  }

  TEST_CASE("a table as JSON is an array of objects") {
    const Json json = sample().json();
    CHECK(json[0]["accuracy"] == 0.98765);
    CHECK(json[1]["accuracy"].is_null());
    CHECK(json[1]["images"] == -1234);
    Table numbers({{"x", "x", Kind::number}});
    numbers.row({std::numeric_limits<double>::quiet_NaN()});
    CHECK(numbers.text() == "  x\n---\nnan\n");
  }

  TEST_CASE("a deviation stands in the cell of its mean for people, in its own column for programs") {
    Table table({{"model", "model"},
                 {"recall", "detected", Kind::percent, 1},
                 {"recall_sd", "±", Kind::deviation},
                 {"images", "images", Kind::count}});
    table.row({std::string("vote"), 0.9, 0.0123, int64_t{20}});
    table.row({std::string("a|b"), 0.5, std::monostate{}, int64_t{1}});
    CHECK(table.text() ==
          "model      detected  images\n"
          "-----  ------------  ------\n"
          "vote   90.0 ± 1.2 %      20\n"
          "a|b          50.0 %       1\n");
    CHECK(table.markdown() ==
          "| model | detected | images |\n"
          "| --- | ---: | ---: |\n"
          "| vote | 90.0 ± 1.2 % | 20 |\n"
          "| a\\|b | 50.0 % | 1 |\n");
    CHECK_THROWS_AS(Table({{"sd", "±", Kind::deviation}}), Error);
    CHECK_THROWS_AS(Table({{"model", "model"}, {"sd", "±", Kind::deviation}}), Error);
    CHECK(table.csv() == "model,recall,recall_sd,images\nvote,0.9,0.0123,20\na|b,0.5,,1\n");
  }

  TEST_CASE("rows that do not fit the columns are refused") {
    Table table({{"x", "x", Kind::count}});
    CHECK_THROWS_AS(table.row({}), Error);
    CHECK_THROWS_AS(table.row({1.5}), Error);
    CHECK_THROWS_AS(table.row({std::string("1")}), Error);
  }

  TEST_CASE("text is wrapped at words") {
    CHECK(wrap("one two three", 9, 2) == "  one two\n  three\n");
    CHECK(wrap("unbreakable", 4, 1) == " unbreakable\n");
    CHECK(wrap("a\n  kept as it is", 6, 1) == " a\n  kept as it is\n");
  }

  TEST_CASE("metrics as JSON keep their keys") {
    const std::vector<int32_t> labels = {0, 1, 1}, predictions = {0, 1, 0};
    const Confusion confusion(2, labels, predictions);
    const Json json = to_json(summarize(confusion), confusion);
    CHECK(json.at("n") == 3);
    CHECK(std::fabs(json.at("accuracy").get<double>() - 2.0 / 3) <= 1e-12);
    CHECK(json.at("interval").size() == 2);
    CHECK(json.at("confusion") == Json({{1, 0}, {1, 1}}));
    for (const char* key : {"precision", "recall", "f1"}) CHECK(json.at(key).is_number_float());
  }

  TEST_CASE("numbers and durations for people") {
    CHECK(grouped(0) == "0");
    CHECK(grouped(999) == "999");
    CHECK(grouped(1000) == "1,000");
    CHECK(grouped(-1234567) == "-1,234,567");
    CHECK(duration_text(4.26) == "4.3 s");
    CHECK(duration_text(185) == "3 min 05 s");
    CHECK(duration_text(3600 + 125) == "1 h 02 min");
    CHECK(duration_text(std::numeric_limits<double>::quiet_NaN()) == "?");
  }
}

}  // namespace
}  // namespace caltrop
