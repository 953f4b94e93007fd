# shellcheck shell=bash disable=SC2034  # read by run.sh
# The evaluation of voxceleb_trainer (github.com/clovaai/voxceleb_trainer, trainSpeakerNet.py --eval). Figures that it
# published on the original list of VoxCeleb1, 37,720 trials: EER 2.18 % of baseline_lite_ap and 1.02 % of
# baseline_v2_smproto (its README); 0.89 %, minDCF 0.066, of RawNet3 (model card). To evaluate one of these models:
#   steps/import_checkpoint.py baseline_lite_ap.model egs/voxceleb/exp/lite_ap/final.pt --from voxceleb_trainer
#   ./run.sh --corpus voxceleb --name lite_ap --stage 4 --protocol voxceleb_trainer

# Ten evenly spaced crops of 400 frames: the published evaluations set --eval_frames 400, its default is 300. They are
# cut from the audio and go through the model's own front end one by one, so that each is normalised by itself.
extract_options=(--input wav --crops 10 --crop-seconds 4)

# The score is the negative mean Euclidean distance of the 100 pairs of crops, with embeddings scaled to length 1.
# voxceleb_trainer does not scale those of networks trained with its loss proto: add --keep-length for these.
score_options=(--backend distance)
enrol_options=() # voxceleb_trainer has no such enrolments; here scores are averaged

norm=${norm:-none} # voxceleb_trainer does not normalise scores
norm_options=()    # with --norm asnorm and others, each training utterance is a cohort member

# Its EER is the larger of the two error rates where they are nearest on a thinned ROC. Its minDCF has p_target 0.05 and
# c_miss = c_fa = 1 (its defaults), and takes tied trials one after the other.
metrics_options=(--priors 0.05 --definitions voxceleb_trainer)
