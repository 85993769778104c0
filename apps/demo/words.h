// What a run of `caltrop demo` means, in sentences. Each is chosen by the numbers, so that it is true whatever
// they are: a defence that misses most attacks is said to, and so is one that a single comparison beats.
#pragma once

#include <cstdint>
#include <string>

#include "apps/demo/result.h"

namespace caltrop {

// "98.5 %". 0 and 100 % are said only of none and all: 9,999 of 10,000 are "> 99.9 %".
std::string percent_words(int64_t part, int64_t whole);
std::string data_words(const DemoResult& result);  // "MNIST"
std::string norm_words(Norm norm);                 // "L∞", "L2"
std::string size_words(double size);               // "0.0996", "0.1"

// The network before any attack.
std::string clean_words(const DemoResult& result);
// The attack of the pictures: how many right answers it turned.
std::string attack_words(const DemoResult& result);
// ... among the pictures, and how sure the network is of its wrong answers.
std::string examples_words(const DemoResult& result);
// How many of GMA's sizes matter, under one norm.
std::string gma_words(const GmaAnalysis& analysis);
// The paper's number for GMA beside this run's; "" for data that it does not use.
std::string gma_paper_words(const DemoResult& result);

std::string found_words(const DefenceResult& result);    // attacked images that the vote flags
std::string missed_words(const DefenceResult& result);   // ... that get past it
std::string price_words(const DefenceResult& result);    // what becomes of clean images
std::string members_words(const DefenceResult& result);  // the vote beside its members
std::string paper_words(const DemoResult& result);       // "" for data that the paper does not use

std::string off_grid_words(const DefenceResult& result);  // the check that learns nothing
std::string rounding_words(const DefenceResult& result);
std::string adaptive_words(const DefenceResult& result);

// All of it in three sentences.
std::string short_words(const DemoResult& result);

}  // namespace caltrop
