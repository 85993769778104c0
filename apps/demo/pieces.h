// What the parts of the page of `caltrop demo` are made of.
#pragma once

#include <string>
#include <vector>

#include "apps/demo/result.h"
#include "apps/report/figure.h"
#include "apps/report/html_page.h"

namespace caltrop {

template <typename... Children>
Html paragraph(const Children&... children) {
  return element("p", {}, children...);
}
// A paragraph, or nothing where there are no words.
Html said(const std::string& words);
Html note(const std::string& words);
Html heading(const std::string& words);
Html question(const std::string& words);
// The first of `rows` are the titles; the row that begins with `chief` stands out.
Html page_table(const std::string& caption, const std::vector<std::vector<std::string>>& rows,
                const std::string& chief = "");

std::string class_name(const DemoResult& run, int32_t label);  // "attacked" for the class of attacked images
// One image, or with `limit` a perturbation magnified so that +-limit fills the scale.
Html picture(const DemoResult& run, const std::vector<float>& pixels, const std::string& description,
             float limit = 0);
// A class, coloured by whether it is the right one or the alarm.
Html answer_words(const DemoResult& run, int32_t says, int32_t label);
// "3 (98 %), wrong"
Html opinion_words(const DemoResult& run, const Opinion& opinion, int32_t label);

// The y axis from somewhat below the lowest point to 100 %.
void fit_to_lowest(Figure& figure);

// The parts that tell of the defence: what it did, and the questions that it has to answer.
Html defence_part(const DemoResult& run);
Html controls_part(const DemoResult& run);

}  // namespace caltrop
