# shellcheck shell=bash disable=SC2034,SC2154  # read by run.sh, which sets data, train_set and embeddings
# The evaluation of WeSpeaker's recipe for VoxCeleb (github.com/wenet-e2e/wespeaker, examples/voxceleb/v2). Figures that
# it published on the cleaned list of VoxCeleb1 (its README): EER 0.867 % of ResNet34 without normalisation; 0.723 %,
# minDCF 0.069, of the same fine-tuned with large margins and normalised. To evaluate one of its models:
#   steps/import_checkpoint.py avg_model.pt egs/voxceleb/exp/resnet34/final.pt --from wespeaker
#   ./run.sh --corpus voxceleb --feature wespeaker80 --stage 1 --stop-stage 1
#   ./run.sh --corpus voxceleb --name resnet34 --stage 4 --protocol wespeaker
#
# Differences: for the mean and the cohort, WeSpeaker embeds a random crop of each training utterance, of 2 s or, after
# fine-tuning, 6 s. Here whole utterances are embedded, as for the trials, so that every run gives the same figures.
# WeSpeaker's calibration with quality measures is not included.

extract_options=() # whole utterances

score_options=(--mean "$embeddings/$train_set/embedding.scp") # cosines after subtracting the mean of the training set
enrol_options=()                                              # VoxCeleb has no enrolments of several utterances

# The cohort scores used are those of the 300 nearest of 5,994 training speakers, or of all if there are fewer. A
# speaker is the mean of its embeddings, from which the mean of the training set is then subtracted.
norm=${norm:-asnorm}
norm_options=(--cohort-utt2spk "$data/$train_set/utt2spk" --cohort-average mean)
[ "$norm" != asnorm ] || norm_options+=(--top-n auto:300)

# p_target 0.01, c_miss = c_fa = 1. Its EER is interpolated as in stage 7, except for tied trials.
metrics_options=(--priors 0.01)
